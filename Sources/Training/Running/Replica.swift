import Checkpoints
import Communication
import Corpus
import Foundation
import LanguageModel
import Layers
import Tensors

/// What a model and its checkpoints have to know of the text.
package struct TextIdentity {
  package let vocabularySize: Int
  package let vocabularyHash: String
  package let isTokenized: Bool

  package init(vocabularySize: Int, vocabularyHash: String, isTokenized: Bool) {
    self.vocabularySize = vocabularySize
    self.vocabularyHash = vocabularyHash
    self.isTokenized = isTokenized
  }
}

extension TextIdentity {
  package init(_ corpus: Corpus) {
    self.init(
      vocabularySize: corpus.vocabulary.count, vocabularyHash: corpus.vocabulary.hash,
      isTokenized: corpus.description.tokenized)
  }
}

/// This rank's copy of the run: model, parameters, optimizer, carried state of its lanes,
/// residuals of the exchange, counters.
///
/// Counters, and parameters and moments of what is not dealt out, are the same on all ranks at the end of every step.
public final class Replica {
  package let configuration: RunConfiguration
  package let ranks: Ranks
  package let engine: ComputeEngine
  package let model: LanguageModel
  package let parameters: ParameterBuffer
  /// What of parameters, gradients and moments is kept up to date here.
  package let shard: ParameterShard
  package let optimizer: Optimizer
  /// The exchange of what all ranks have alike.
  package let exchange: GradientExchange
  /// How the words are shared out; nil where they are not, and on a rank without lanes.
  let sharing: VocabularySharing?
  let pass: SegmentPass
  /// Which rank has which lanes.
  let share: LaneShare
  package var state: CheckpointState
  /// How many of the codec decisions in `state` were made for other ranks or nodes.
  var frozenDecisionCount = 0

  /// A replica before its first step; throws where the lanes cannot be shared out.
  package init(
    _ configuration: RunConfiguration, text: TextIdentity, ranks: Ranks,
    engine: ComputeEngine, thread: CommunicationThread
  ) throws {
    self.configuration = configuration
    self.ranks = ranks
    self.engine = engine
    model = LanguageModel(configuration.model, vocabularySize: text.vocabularySize)
    parameters = ParameterBuffer(model.parameters)
    parameters.initialize(seed: UInt64(configuration.training.seed), engine: engine)
    let share = try LaneShare(configuration, rankCount: ranks.rankCount)
    self.share = share
    shard = model.shard(of: ranks.rank, configuration.exchange.vocabulary, share)
    optimizer = Optimizer(configuration.optimizer, list: model.parameters, shard: shard, engine: engine)
    sharing = shard.words.map { [model] in
      VocabularySharing(
        $0, model: model, configuration.training, share: share, communicator: ranks.gradients,
        thread: thread)
    }
    pass = SegmentPass(
      model, parameters: parameters, stepCount: configuration.training.segment,
      laneCount: share.lanes(of: ranks.rank).count, accumulation: configuration.training.accumulate,
      engine: engine, softmaxThreshold: Float(configuration.training.softmaxThreshold), vocabulary: sharing)
    exchange = try Self.exchange(
      configuration, model: model, common: shard.common, ranks: ranks, share: share, thread: thread)
    state = CheckpointState(
      step: 0, segmentIndex: 0, tokenCount: 0, rankCount: ranks.rankCount, threadCount: engine.threadCount,
      engine: engine.name, cpuLevel: engine.cpuLevel, precision: engine.precision.rawValue,
      programVersion: programVersion, configuration: configuration.yaml,
      vocabularyHash: text.vocabularyHash)
    state.nodeOfRank = exchange.layout.nodeOfRank
    state.trainingRankCount = share.trainingRankCount
    state.isTokenized = text.isTokenized
    state.codecDecisions = firstDecisions()
  }

  /// What gradients travel with.
  var codec: Codec { exchange.codec }

  private static func exchange(
    _ configuration: RunConfiguration, model: LanguageModel, common: Range<Int>, ranks: Ranks,
    share: LaneShare, thread: CommunicationThread
  ) throws -> GradientExchange {
    let training = configuration.training
    let layout = ranks.gradients.layout.limited(to: configuration.exchange.ranksPerNode)
    let tied = model.tiedMatrix
    let first = common.lowerBound
    return try GradientExchange(
      communicator: ranks.gradients, thread: thread, elementCount: common.count,
      ranges: model.gradientRanges.filter { common.contains($0.range.lowerBound) }.map { range in
        ExchangeRange(
          range: range.range.lowerBound - first..<range.range.upperBound - first,
          blockLength: range.rowLength ?? 256, name: range.name)
      },
      rows: common.contains(tied.offset)
        ? SparseRows(
          offset: tied.offset, width: tied.columnCount, rowCount: tied.rowCount,
          maximumRowCount: share.laneCountPerRank * training.segment * training.accumulate) : nil,
      configuration: ExchangeConfiguration(
        codec: firstCodec(configuration.exchange, nodeCount: layout.nodeCount),
        bucketByteCount: configuration.exchange.bucketMegabytes * 1_000_000,
        ranksPerNode: configuration.exchange.ranksPerNode))
  }

  /// XXH64 of every tensor that all ranks have alike.
  func hashes() -> [(name: String, hash: UInt64)] {
    model.parameters.parameters.filter(shard.isCommon).map { ($0.name, parameters.hash(of: $0)) }
  }
}

extension LanguageModel {
  /// What of the parameters a rank keeps up to date.
  func shard(of rank: Int, _ vocabulary: ExchangeSettings.Vocabulary, _ share: LaneShare) -> ParameterShard {
    switch vocabulary {
    case .replicated: return ParameterShard(all: parameters)
    case .sharded:
      let index = share.trainingRanks.firstIndex(of: rank).map { $0 - share.trainingRanks.lowerBound }
      return ParameterShard(
        parameters, words: index.map { vocabularyShard(index: $0, count: share.trainingRankCount) })
    }
  }
}
