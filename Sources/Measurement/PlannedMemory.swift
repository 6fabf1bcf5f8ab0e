import Communication
import Tensors
import Training

/// Whether planned jobs fit in the memory of hosts like this one.
package struct PlannedMemory {
  private let configuration: RunConfiguration
  private let vocabularySize: Int
  private let laneCountPerRank: Int
  private let engine: ComputeEngine
  private let available: HostShare.Memory?

  /// Jobs whose ranks have the lanes of a rank of `rankCount`; `available` is what those on a host share.
  package init(
    _ configuration: RunConfiguration, vocabularySize: Int, rankCount: Int, engine: ComputeEngine,
    available: HostShare.Memory?
  ) throws {
    laneCountPerRank = try LaneLayout(configuration, rankCount: rankCount).laneCountPerRank
    var configuration = configuration
    // The ranks of a cluster are those that train.
    configuration.coordinator.placement = .worker
    configuration.exchange.vocabulary = .auto
    self.configuration = configuration
    self.vocabularySize = vocabularySize
    self.engine = engine
    self.available = available
  }

  /// Memory of a rank with groups of `groupSize` ranks.
  package func need(ofRank rank: Int, groupSize: Int, on cluster: Cluster) throws -> MemoryNeed {
    var configuration = configuration
    configuration.training.lanes = laneCountPerRank * cluster.rankCount
    return try MemoryNeed(
      configuration, vocabularySize: vocabularySize, rank: rank, nodes: cluster.layout, engine: engine,
      vocabularyGroupSize: groupSize)
  }

  /// Whether rank 0, which needs the most, and the last rank fit with groups of `groupSize` ranks, a divisor of their number.
  package func fits(groupSize: Int, on cluster: Cluster) -> Bool {
    [Ranks.coordinator, cluster.rankCount - 1].allSatisfy { rank in
      guard let need = try? need(ofRank: rank, groupSize: groupSize, on: cluster) else { return false }
      return need.isAvailable(in: available)
    }
  }
}
