import Communication
import LanguageModel
import Layers
import Tensors

/// Where the rows of the tied matrix live: what a step does for them, apart from the exchange of what all ranks have.
///
/// The order of a step: `begin`, and `beginExchange` where the gradient is exchanged; for each segment `read`, then the model's
/// passes over `shards`; `finish(rows:of:)` with the last part of the gradient; `finish`, and `commit` or `rollback`.
protocol VocabularyPlacement: AnyObject {
  /// The tied matrix as the passes through segments see it.
  var shards: any VocabularyShards { get }

  /// Residuals of the exchange of the rows where they live.
  var residuals: ShardResiduals { get }

  /// Seconds for which this rank has waited for other ranks' rows in the step so far.
  var exposedSeconds: Double { get }

  /// Begins a step; `limits` say how long ranks wait for each other.
  func begin(step: Int, limits: StallLimits?, isTraced: Bool)

  /// Begins the exchange of a step. If it is `flushing`, gradient and residuals are sent exactly.
  func beginExchange(step: Int, flushing: Bool, limits: StallLimits?, isTraced: Bool)

  /// The lanes of all ranks over which the vocabulary is sharded, given the lanes of this rank.
  func lanes(own: Range<Int>) -> Range<Int>

  /// Copies the tokens of these lanes in a segment.
  func read(_ segmentIndex: Int, of tokens: StepTokens)

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
  var exposedSeconds: Double { 0 }
  func begin(step: Int, limits: StallLimits?, isTraced: Bool) {}
  func beginExchange(step: Int, flushing: Bool, limits: StallLimits?, isTraced: Bool) {}
  func lanes(own: Range<Int>) -> Range<Int> { own }
  func read(_ segmentIndex: Int, of tokens: StepTokens) {}
  func finish(_ gradients: ParameterBuffer, _ report: inout ExchangeReport) throws {}
  func commit() {}
  func rollback() {}
  func choose(_ codec: Codec) {}
}

/// The whole matrix on every rank: its gradient is part of the exchange of all ranks.
final class ReplicatedVocabulary: VocabularyPlacement {
  let shards: any VocabularyShards
  let residuals: ShardResiduals
  private let exchange: GradientExchange

  init(_ model: LanguageModel, layout: VocabularyLayout, exchange: GradientExchange) {
    shards = WholeVocabulary(vocabularySize: model.vocabularySize)
    residuals = ShardResiduals(layout, average: nil, model: model)
    self.exchange = exchange
  }

  func finish(rows: Matrix, of tokens: Vector<Int32>, into gradients: ParameterBuffer) throws {
    try exchange.submitRows(ids: UnsafeBufferPointer(tokens.buffer), rows: rows.data)
  }
}

/// A sharded matrix on a rank without lanes, which has none of its rows.
final class AbsentVocabulary: VocabularyPlacement {
  let shards: any VocabularyShards
  let residuals: ShardResiduals

  init(_ model: LanguageModel, layout: VocabularyLayout) {
    shards = WholeVocabulary(vocabularySize: model.vocabularySize)
    residuals = ShardResiduals(layout, average: nil, model: model)
  }

  func finish(rows: Matrix, of tokens: Vector<Int32>, into gradients: ParameterBuffer) {}
}

extension VocabularyLayout {
  /// The placement of a rank whose shard is `shard`; all ranks of `communicator` call it.
  ///
  /// Where groups exchange their shards, that exchange is configured like `exchange`, the one of all ranks.
  func placement(
    _ shard: ParameterShard, exchange: GradientExchange, configuration: ExchangeConfiguration,
    model: LanguageModel, training: TrainingConfiguration, laneLayout: LaneLayout,
    communicator: any Communicator, thread: CommunicationThread, in arena: Arena
  ) throws -> any VocabularyPlacement {
    guard isSharded else { return ReplicatedVocabulary(model, layout: self, exchange: exchange) }
    let average = try ShardAverage(
      shard, layout: self, list: model.parameters, all: communicator, thread: thread,
      configuration: configuration, in: arena)
    guard let rows = shard.rows, let group = group(of: communicator.rank) else {
      return AbsentVocabulary(model, layout: self)
    }
    return ShardedVocabulary(
      rows, group: group, layout: self, average: average, model: model, training: training,
      laneLayout: laneLayout, communicator: communicator, thread: thread, in: arena)
  }
}
