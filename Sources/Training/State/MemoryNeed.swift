import Communication
import Foundation
import LanguageModel
import Layers
import Platform
import Reporting
import Tensors

/// The memory of a rank in bytes.
///
/// The state, the steps and the snapshot of a rank are constructed in counting arenas. Not included: code, libraries,
/// scratch memory of the compute threads, the evaluation's own activations, and, on rank 0, the residuals in a checkpoint that
/// is written where a run stops.
package struct MemoryNeed {
  /// Bytes that `TrainingState` allocates.
  package let state: Int
  /// The gradient, the carried state that a skipped step restores, and the tokens of a step.
  package let step: Int
  /// The weights as products read them: rounded and packed in the first step.
  package let packed: Int
  /// Rank 0's snapshot, evaluated parameters and room for a received shard; the copies that other ranks send of their shards.
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
    let laneLayout = try LaneLayout(configuration, rankCount: nodes.rankCount)
    let layout = try VocabularyLayout(
      configuration.exchange.vocabulary, frozen: vocabularyGroupSize, trainingRanks: laneLayout.trainingRanks)
    var largest = configuration
    largest.exchange.codec = configuration.exchange.largestCodec
    let communicator = PlannedCommunicator(rank: rank, layout: nodes) {
      ShardAverage.color(of: $0, layout)
    }
    let counted = try TrainingState(
      largest,
      text: TextIdentity(vocabularySize: vocabularySize, vocabularyHash: "", isTokenized: false),
      ranks: Ranks(control: communicator, gradients: communicator, snapshots: communicator), engine: engine,
      thread: CommunicationThread(), vocabularyGroupSize: vocabularyGroupSize, in: Arena(counting: true))
    state = counted.byteCount
    packed = laneLayout.lanes(of: rank).isEmpty ? 0 : counted.pass.packedByteCount
    step = StepBuffers(counted, in: Arena(counting: true)).arena.byteCount

    let snapshotArena = Arena(counting: true)
    _ = try ShardTransfer(counted, in: snapshotArena)
    if rank == Ranks.coordinator {
      _ = Snapshot(counted, in: snapshotArena)
      // The parameters that are evaluated.
      _ = ParameterBuffer(counted.model.parameters, in: snapshotArena)
    }
    snapshot = snapshotArena.byteCount
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
