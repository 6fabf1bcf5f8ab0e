import Layers
import Tensors

/// Reads blocks of tokens and computes their negative log-likelihoods.
package protocol BlockScorer: AnyObject {
  /// z of the last block, the softmax's input: T·S × E, time-major.
  var output: Matrix { get }

  /// Sets the state of all streams to zero.
  func resetState()

  /// Reads a block of tokens, time-major, and returns the negative log-likelihoods, in nats, of its first `rowCount` targets.
  ///
  /// All rows of `inputs` must be valid tokens. The view stays valid until the next call.
  func score(inputs: Vector<Int32>, targets: Vector<Int32>, rowCount: Int) throws -> Vector<Double>
}

/// Scores text with a fixed set of weights: block after block of S streams,
/// the state carried from one to the next.
///
/// A block may be shorter than T: as many steps as it has tokens of each stream.
package final class Scorer: BlockScorer, Sendable {
  private let model: LanguageModel
  private let pass: SegmentPass
  private let losses: Vector<Double>
  private let arena = Arena()

  /// The number of steps per block.
  package var stepCount: Int { pass.stepCount }
  /// The number of streams per block.
  package var streamCount: Int { pass.laneCount }
  /// z of the block read last.
  package var output: Matrix { pass.output }

  /// The state of all streams before the next block.
  package var state: CarriedState { pass.carriedState }

  /// A scorer with zero state; scorers of several shapes may share the packed `weights`.
  package init(
    _ model: LanguageModel, parameters: ParameterBuffer, stepCount: Int, streamCount: Int,
    engine: ComputeEngine, weights: Weights? = nil
  ) {
    self.model = model
    pass = SegmentPass(
      model, parameters: parameters, stepCount: stepCount, laneCount: streamCount, accumulation: 0,
      engine: engine, weights: weights)
    losses = arena.vector(of: Double.self, count: stepCount * streamCount)
  }

  /// Sets the state of all streams to zero.
  package func resetState() { pass.carriedState.reset() }

  /// Reads a block of tokens, time-major, and sets `output` to z of all its rows.
  ///
  /// This is all that is needed where another process computes the softmax.
  package func read(_ inputs: Vector<Int32>) {
    pass.forward(inputs)
    pass.carryState(after: inputs.count / streamCount)
  }

  /// Reads a block and scores its first rows.
  package func score(inputs: Vector<Int32>, targets: Vector<Int32>, rowCount: Int) -> Vector<Double> {
    read(inputs)
    let rows = 0..<rowCount
    model.softmax.score(
      pass.output.rows(rows), targets: targets[rows], weights: pass.weights, into: losses[rows],
      workspace: pass.softmax)
    return losses[rows]
  }
}

/// The softmax alone: scores rows of z that another process has computed.
package final class SoftmaxScorer: Sendable {
  private let model: LanguageModel
  private let weights: Weights
  private let workspace: SoftmaxWorkspace
  private let losses: Vector<Double>
  private let arena = Arena()

  /// A scorer of up to `rowCount` rows at once.
  package init(_ model: LanguageModel, parameters: ParameterBuffer, rowCount: Int, engine: ComputeEngine) {
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
  package func score(_ output: Matrix, targets: Vector<Int32>) -> Vector<Double> {
    let rows = 0..<output.rowCount
    model.softmax.score(
      output, targets: targets, weights: weights, into: losses[rows], workspace: workspace)
    return losses[rows]
  }
}
