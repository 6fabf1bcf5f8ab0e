import Layers
import Tensors

/// Reads blocks of words and says how probable each was.
public protocol BlockScorer: AnyObject {
  /// z of the block read last, what the softmax multiplies: T·S × E, time-major.
  var output: Matrix { get }

  /// Makes the state of all streams zero.
  func resetState()

  /// Reads a block of words, time-major, and gives the negative log-likelihoods, in nats, of its first
  /// `rowCount` targets.
  ///
  /// All rows of `inputs` must be words. The view stays valid until the next call.
  func score(inputs: Vector<Int32>, targets: Vector<Int32>, rowCount: Int) throws -> Vector<Double>
}

/// Scores text with a fixed set of weights: block after block of S streams,
/// the state carried from one to the next.
public final class Scorer: BlockScorer, Sendable {
  private let model: LanguageModel
  private let pass: SegmentPass
  private let losses: Vector<Double>
  private let arena = Arena()

  /// How many steps a block has.
  public var stepCount: Int { pass.stepCount }
  /// How many streams a block has.
  public var streamCount: Int { pass.laneCount }
  /// z of the block read last.
  public var output: Matrix { pass.output }

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

  /// Makes the state of all streams zero.
  public func resetState() { pass.carriedState.reset() }

  /// Reads a block of words, time-major, and leaves z of all its rows in `output`.
  ///
  /// That is all where another process does the softmax.
  public func read(_ inputs: Vector<Int32>) {
    pass.forward(inputs)
    pass.carryState()
  }

  /// Reads a block and scores its first rows.
  public func score(inputs: Vector<Int32>, targets: Vector<Int32>, rowCount: Int) -> Vector<Double> {
    read(inputs)
    let rows = 0..<rowCount
    model.softmax.score(
      pass.output.rows(rows), targets: targets[rows], weights: pass.weights, into: losses[rows],
      workspace: pass.softmax)
    return losses[rows]
  }
}

/// The softmax alone: scores rows of z that another process has computed.
public final class SoftmaxScorer: Sendable {
  private let model: LanguageModel
  private let weights: Weights
  private let workspace: SoftmaxWorkspace
  private let losses: Vector<Double>
  private let arena = Arena()

  /// A scorer of up to `rowCount` rows at once.
  public init(_ model: LanguageModel, parameters: ParameterBuffer, rowCount: Int, engine: ComputeEngine) {
    self.model = model
    weights = Weights(parameters, engine: engine)
    workspace = SoftmaxWorkspace(
      shard: model.vocabularyShard(index: 0, count: 1), width: model.configuration.embedding,
      rowCount: rowCount,
      byteBudget: SegmentPass.defaultLogitsByteBudget, scoringOnly: true, engine: engine, in: arena)
    losses = arena.vector(of: Double.self, count: rowCount)
  }

  /// The negative log-likelihood of each row's target, in nats; z is rows × E.
  ///
  /// The view stays valid until the next call.
  public func score(_ output: Matrix, targets: Vector<Int32>) -> Vector<Double> {
    let rows = 0..<output.rowCount
    model.softmax.score(
      output, targets: targets, weights: weights, into: losses[rows], workspace: workspace)
    return losses[rows]
  }
}
