import Communication
import LanguageModel
import Training

/// Measured costs of a step on one rank, for any number of ranks.
package struct StepCosts: Sendable {
  /// Seconds of forward and backward pass.
  package var computeSeconds: Double
  /// Seconds of norm and optimizer.
  package var updateSeconds: Double
  /// The exchange of the gradient, which states its own messages and bytes for any layout of nodes.
  package var exchange: ExchangeModel
  /// The ranges of the gradient in the order in which they are ready: number, and at which fraction of the compute.
  package var ready: [(range: Int, fraction: Double)]
  /// The numbers of the ranges of the tied matrix; none where the measured exchange did not have them.
  package var tiedRanges: [Int]
  /// Costs of each allowed codec on each range, the most exact codec first.
  package var codecs: [CodecMeasurement]
  /// Elements of the rows of the tied matrix that a rank's tokens touch.
  package var rowElementCount: Double
  /// Tokens per step on one rank.
  package var tokenCount: Int
  /// Costs of sharding the vocabulary.
  package var sharding: ShardingCosts

  /// Costs as measured.
  package init(
    computeSeconds: Double, updateSeconds: Double, exchange: ExchangeModel,
    ready: [(range: Int, fraction: Double)], tiedRanges: [Int] = [], codecs: [CodecMeasurement],
    rowElementCount: Double, tokenCount: Int, sharding: ShardingCosts
  ) {
    self.computeSeconds = computeSeconds
    self.updateSeconds = updateSeconds
    self.exchange = exchange
    self.ready = ready
    self.tiedRanges = tiedRanges
    self.codecs = codecs
    self.rowElementCount = rowElementCount
    self.tokenCount = tokenCount
    self.sharding = sharding
  }
}

/// A sharded vocabulary per step, on one rank.
package struct ShardingCosts: Sendable {
  /// The model, whose placement states its traffic.
  package var model: LanguageModel
  /// Rows of z of one rank in a segment.
  package var rowCount: Int
  /// Segments per step.
  package var accumulation: Int
  /// Seconds of updating all vocabulary rows, of which a rank updates only its shard.
  package var updateSeconds: Double

  /// Costs of a step.
  package init(model: LanguageModel, rowCount: Int, accumulation: Int, updateSeconds: Double) {
    self.model = model
    self.rowCount = rowCount
    self.accumulation = accumulation
    self.updateSeconds = updateSeconds
  }

  /// Traffic of a rank to the others of its group in a step.
  package func traffic(_ vocabulary: VocabularyLayout, rowElementCount: Double) -> ExchangeTraffic {
    vocabulary.traffic(
      model, rowCount: rowCount, accumulation: accumulation,
      distinctTokenCount: rowElementCount / Double(model.tiedMatrix.columnCount))
  }
}

/// The ranks, nodes and link of a job.
package struct Cluster: Sendable {
  /// Training ranks.
  package var rankCount: Int
  /// Ranks that add their gradients in shared memory before anything is sent.
  package var ranksPerNode: Int
  /// The link of one leader of a partition.
  package var link: LinkMeasurement
  /// Whether the communication thread has a core that no compute thread uses.
  package var hasSpareCore: Bool

  /// A real or planned cluster.
  package init(rankCount: Int, ranksPerNode: Int, link: LinkMeasurement, hasSpareCore: Bool) {
    self.rankCount = rankCount
    self.ranksPerNode = ranksPerNode
    self.link = link
    self.hasSpareCore = hasSpareCore
  }

  /// The nodes of the ranks, the last of which may not be full.
  package var layout: NodeLayout { NodeLayout(nodeOfRank: (0..<rankCount).map { $0 / ranksPerNode }) }
}
