import Communication
import LanguageModel
import Layers
import Tensors

/// Where the rows of the tied matrix live: what a step does for them, apart from the exchange of what all ranks have.
///
/// The order of a step: `begin`, and `beginExchange` where the gradient is exchanged; for each segment `read`, then the model's
/// passes over `shards`; `finish(rows:of:)` with the last part of the gradient; `finish`, and `commit` or `rollback`.
package protocol VocabularyPlacement: AnyObject {
  /// The tied matrix as the passes through segments see it.
  var shards: any VocabularyShards { get }

  /// Seconds for which this rank has waited for other ranks' rows in the step so far.
  var exposedSeconds: Double { get }

  /// Begins a step; `limits` say how long ranks wait for each other.
  func begin(step: Int, limits: StallLimits?, isTraced: Bool)

  /// Begins the exchange of a step. If it is `flushing`, gradient and residuals are sent exactly.
  func beginExchange(step: Int, flushing: Bool, limits: StallLimits?, isTraced: Bool)

  /// The lanes of all ranks over which the vocabulary is sharded, given the lanes of this rank.
  func lanes(own: Range<Int>) -> Range<Int>

  /// Reads the tokens of these lanes in a segment.
  func read(_ segmentIndex: Int, of data: TrainingData) throws

  /// Sums the gradient rows of looked-up tokens where the rows of the matrix live.
  func finish(rows: Matrix, of tokens: Vector<Int32>, into gradients: ParameterBuffer) throws

  /// Waits until the rows of this rank hold the mean gradient over all ranks; adds what that has cost.
  func finish(_ gradients: ParameterBuffer, _ report: inout ExchangeReport) throws

  /// Ends a step that was applied.
  func commit()

  /// Ends a step that was skipped: residuals are what they were before.
  func rollback()

  /// Sets the codec of the steps that follow.
  func choose(_ codec: Codec)
}

extension VocabularyPlacement {
  package var exposedSeconds: Double { 0 }
  package func begin(step: Int, limits: StallLimits?, isTraced: Bool) {}
  package func beginExchange(step: Int, flushing: Bool, limits: StallLimits?, isTraced: Bool) {}
  package func lanes(own: Range<Int>) -> Range<Int> { own }
  package func read(_ segmentIndex: Int, of data: TrainingData) throws {}
  package func finish(_ gradients: ParameterBuffer, _ report: inout ExchangeReport) throws {}
  package func commit() {}
  package func rollback() {}
  package func choose(_ codec: Codec) {}
}

/// The whole matrix on every rank: its gradient is part of the exchange of all ranks.
final class ReplicatedVocabulary: VocabularyPlacement {
  let shards: any VocabularyShards
  private let exchange: GradientExchange

  init(vocabularySize: Int, exchange: GradientExchange) {
    shards = WholeVocabulary(vocabularySize: vocabularySize)
    self.exchange = exchange
  }

  func finish(rows: Matrix, of tokens: Vector<Int32>, into gradients: ParameterBuffer) throws {
    try exchange.submitRows(ids: UnsafeBufferPointer(tokens.buffer), rows: rows.data)
  }
}

/// A sharded matrix on a rank without lanes, which has none of its rows.
final class AbsentVocabulary: VocabularyPlacement {
  let shards: any VocabularyShards

  init(vocabularySize: Int) { shards = WholeVocabulary(vocabularySize: vocabularySize) }

  func finish(rows: Matrix, of tokens: Vector<Int32>, into gradients: ParameterBuffer) {}
}

extension VocabularyLayout {
  /// The placement of a rank whose shard is `shard`.
  func placement(
    _ shard: ParameterShard, average: ShardAverage?, exchange: GradientExchange, model: LanguageModel,
    training: TrainingConfiguration, laneLayout: LaneLayout, communicator: any Communicator,
    thread: CommunicationThread, in arena: Arena
  ) -> any VocabularyPlacement {
    guard isSharded else {
      return ReplicatedVocabulary(vocabularySize: model.vocabularySize, exchange: exchange)
    }
    guard let rows = shard.rows, let group = group(of: communicator.rank) else {
      return AbsentVocabulary(vocabularySize: model.vocabularySize)
    }
    return ShardedVocabulary(
      rows, group: ranks(ofGroup: group), groupCount: groupCount, average: average, model: model,
      training: training, laneLayout: laneLayout, communicator: communicator, thread: thread,
      in: arena)
  }
}
