import Communication
import Foundation
import LanguageModel
import Layers
import Platform
import Reporting
import Tensors

/// The memory of a rank in bytes: sums of what its parts state about themselves.
///
/// Parts that live in arenas are constructed once in a counting arena. Not included: code, libraries, scratch memory of the
/// compute threads, and the evaluation's own activations.
package struct MemoryNeed {
  /// What `TrainingState` allocates.
  package let state: Int
  /// The gradient, and the carried state that a skipped step restores.
  package let step: Int
  /// The weights as products read them: rounded and packed in the first step.
  package let packed: Int
  /// The snapshot and the evaluated parameters of rank 0; the copies that other ranks send of their shards.
  package let snapshot: Int

  /// A terabyte of parameters: even counting the buckets of a larger gradient takes long.
  private static let parameterLimit = 1 << 38

  package var byteCount: Int { state + step + packed + snapshot }

  /// The need of this rank; `vocabularyGroupSize` is G where `auto` has chosen it.
  package init(
    _ configuration: RunConfiguration, vocabularySize: Int, ranks: Ranks, engine: ComputeEngine,
    vocabularyGroupSize: Int? = nil
  ) throws {
    try self.init(
      configuration, vocabularySize: vocabularySize, rank: ranks.rank, nodes: ranks.gradients.layout,
      engine: engine, vocabularyGroupSize: vocabularyGroupSize)
  }

  /// The need of any rank of any job, whose ranks are on the nodes of a layout.
  package init(
    _ configuration: RunConfiguration, vocabularySize: Int, rank: Int, nodes: NodeLayout,
    engine: ComputeEngine, vocabularyGroupSize: Int? = nil
  ) throws {
    let model = LanguageModel(configuration.model, vocabularySize: vocabularySize)
    let parameterCount = model.parameters.parameterCount
    guard parameterCount <= Self.parameterLimit else {
      throw MilmError(
        "a model of \(Readable.count(Double(parameterCount))) parameters cannot be held: expected at most "
          + Readable.count(Double(Self.parameterLimit)))
    }
    let training = configuration.training
    let laneLayout = try LaneLayout(configuration, rankCount: nodes.rankCount)
    let layout = try VocabularyLayout(
      configuration.exchange.vocabulary, frozen: vocabularyGroupSize, trainingRanks: laneLayout.trainingRanks)
    let shard = layout.parameterShard(of: rank, model)

    // Parameters have space for all rows: those that are looked up are fetched.
    let arena = Arena(counting: true)
    let parameters = ParameterBuffer(model.parameters, in: arena)
    let optimizer = Optimizer(
      configuration.optimizer, list: model.parameters, shard: shard, engine: engine, in: arena)
    let vocabulary = CountedVocabulary(
      shard.rows ?? model.vocabularyShard(index: 0, count: 1), isSharded: shard.rows != nil)
    let pass = SegmentPass(
      model, parameters: parameters, stepCount: training.segment, laneCount: laneLayout.lanes(of: rank).count,
      accumulation: training.accumulate, engine: engine,
      softmaxThreshold: Float(training.softmaxThreshold), vocabulary: vocabulary, in: arena)
    let placed = shard.rows.map {
      ShardedVocabulary.byteCount(
        $0, width: model.tiedMatrix.columnCount, training: training, laneLayout: laneLayout)
    }
    state =
      arena.byteCount + (placed ?? 0)
      + Self.exchange(configuration, model, shard: shard, laneLayout: laneLayout, rank: rank, nodes: nodes)
      + Self.average(configuration, model, shard: shard, layout: layout, rank: rank, nodes: nodes)
    packed = laneLayout.lanes(of: rank).isEmpty ? 0 : pass.packedByteCount

    let stepArena = Arena(counting: true)
    _ = ParameterBuffer(model.parameters, in: stepArena)
    _ = CarriedState(like: pass.carriedState, laneCount: pass.laneCount, in: stepArena)
    step = stepArena.byteCount

    let snapshotArena = Arena(counting: true)
    if rank == Ranks.coordinator {
      for _ in 0..<2 + optimizer.moments.count { _ = ParameterBuffer(model.parameters, in: snapshotArena) }
      _ = CarriedState(like: pass.carriedState, laneCount: training.lanes, in: snapshotArena)
    } else {
      let contributed = layout.contributedShard(of: rank, model).ownedCount
      for _ in 0...optimizer.moments.count {
        _ = snapshotArena.matrix(rowCount: 1, columnCount: contributed)
      }
    }
    snapshot = snapshotArena.byteCount
  }

  /// The exchange of what all ranks have.
  private static func exchange(
    _ configuration: RunConfiguration, _ model: LanguageModel, shard: ParameterShard, laneLayout: LaneLayout,
    rank: Int, nodes: NodeLayout
  ) -> Int {
    let settings = configuration.exchange
    let exchange = ExchangeModel(
      ranges: TrainingState.exchangeRanges(model, common: shard.common),
      rows: TrainingState.sparseRows(
        model, common: shard.common, training: configuration.training, laneLayout: laneLayout),
      bucketByteCount: settings.bucketMegabytes * 1_000_000,
      layout: nodes.limited(to: settings.ranksPerNode))
    return exchange.byteCount(of: rank, isExact: settings.largestCodec.isExact)
  }

  /// The mean of the rank's shard over the groups.
  private static func average(
    _ configuration: RunConfiguration, _ model: LanguageModel, shard: ParameterShard,
    layout: VocabularyLayout, rank: Int, nodes: NodeLayout
  ) -> Int {
    guard layout.exchangesShards, let index = layout.shardIndex(of: rank),
      let group = layout.group(of: rank)
    else { return 0 }
    let settings = configuration.exchange
    return ShardAverage.byteCount(
      shard, list: model.parameters,
      owners: nodes.subset(layout.owners(ofShard: index)).limited(to: settings.ranksPerNode), index: group,
      isExact: settings.largestCodec.isExact, bucketByteCount: settings.bucketMegabytes * 1_000_000)
  }

  /// Whether `memory` is enough for all ranks that share it; true where the kernel does not say what is available.
  package func isAvailable(in memory: HostShare.Memory?) -> Bool {
    memory.map { byteCount <= $0.byteCountPerRank } ?? true
  }

  /// Throws where the ranks that share `memory` need more of it than is available.
  package func check(_ memory: HostShare.Memory?) throws { try Self.check(byteCount, memory) }

  /// Throws if `memory` has fewer than `byteCount` bytes for each rank that shares it.
  package static func check(_ byteCount: Int, _ memory: HostShare.Memory?) throws {
    guard let memory, byteCount > memory.byteCountPerRank else { return }
    let ranks = memory.rankCount == 1 ? "1 rank" : "\(memory.rankCount) ranks"
    throw MilmError(
      "a rank needs about \(Readable.byteCount(byteCount)), but \(memory.owner) has "
        + "\(Readable.byteCount(memory.byteCount)) available for \(ranks): expected a smaller model, fewer lanes "
        + "or more memory")
  }
}

/// The shard of a rank that does not exist.
private final class CountedVocabulary: VocabularyShards {
  let shard: RowShard
  let defersMatrixGradient: Bool
  var gradientDivisor: Float { 1 }

  init(_ shard: RowShard, isSharded: Bool) {
    self.shard = shard
    defersMatrixGradient = isSharded
  }

  func fetchRows(into table: Matrix) {}
  func gather(_ own: SoftmaxRows) -> SoftmaxRows { own }
  func combine(_ statistics: SoftmaxStatistics) {}
  func scatter(_ all: SoftmaxRows, into own: SoftmaxRows) {}
}
