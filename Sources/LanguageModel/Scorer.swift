import Layers
import Tensors

/// Scores text with a fixed set of weights: block after block of S streams,
/// the state carried from one to the next.
public final class Scorer: Sendable {
  private let model: LanguageModel
  private let pass: SegmentPass
  private let losses: Vector<Double>
  private let arena = Arena()

  /// How many steps a block has.
  public var stepCount: Int { pass.stepCount }
  /// How many streams a block has.
  public var streamCount: Int { pass.laneCount }

  /// A scorer at the beginning of all streams, its state zero.
  public init(
    _ model: LanguageModel, parameters: ParameterBuffer, stepCount: Int, streamCount: Int,
    engine: ComputeEngine
  ) {
    self.model = model
    pass = SegmentPass(
      model, parameters: parameters, stepCount: stepCount, laneCount: streamCount, accumulation: 0,
      engine: engine)
    losses = arena.vector(of: Double.self, count: stepCount * streamCount)
  }

  /// Goes back to the beginning of all streams, and takes the parameters' values of now.
  public func reset() {
    pass.resetState()
    pass.refreshWeights()
  }

  /// Reads a block of words, time-major, and gives the negative log-likelihoods, in nats,
  /// of the targets in `rows`.
  ///
  /// The recurrence runs over the whole block, the softmax over these rows alone:
  /// ranks that read the same blocks can share the rows out. The view stays valid until the next call.
  public func score(inputs: Vector<Int32>, targets: Vector<Int32>, rows: Range<Int>) -> Vector<Double> {
    pass.forward(inputs)
    model.softmax.score(
      pass.output.rows(rows), targets: targets[rows], weights: pass.weights, into: losses[rows],
      workspace: pass.softmax, engine: pass.engine)
    pass.carryState()
    return losses[rows]
  }
}
