import Communication
import Training

/// What a step of one rank costs, as it was measured, whatever the number of ranks.
package struct StepCosts: Sendable {
  /// Seconds of forward and backward pass.
  package var computeSeconds: Double
  /// Seconds of norm and optimizer.
  package var updateSeconds: Double
  /// The ranges of the gradient in the order in which they are ready: number, and at which share of the computing.
  package var ready: [(range: Int, share: Double)]
  /// What each codec costs on each range; those the configuration allows, the most exact first.
  package var codecs: [CodecMeasurement]
  /// Numbers that a rank's rows of the tied matrix have, those of the words that occurred.
  package var rowElementCount: Double
  /// Words of a rank's step.
  package var tokenCount: Int
  /// What it takes to share the vocabulary out; nil where every rank has all of it.
  package var sharing: SharingCosts?

  /// Costs as they were measured.
  package init(
    computeSeconds: Double, updateSeconds: Double, ready: [(range: Int, share: Double)],
    codecs: [CodecMeasurement], rowElementCount: Double, tokenCount: Int, sharing: SharingCosts? = nil
  ) {
    self.computeSeconds = computeSeconds
    self.updateSeconds = updateSeconds
    self.ready = ready
    self.codecs = codecs
    self.rowElementCount = rowElementCount
    self.tokenCount = tokenCount
    self.sharing = sharing
  }
}

/// What ranks that share the vocabulary out give each other in a step, and what each is spared; counts are of one rank.
package struct SharingCosts: Sendable {
  /// Rows of z, over all segments of the step.
  package var rowCount: Int
  /// E.
  package var width: Int
  /// Exchanges for which all ranks wait.
  package var operationCount: Int
  /// Seconds of the update of all words, of which a rank has its share alone.
  package var updateSeconds: Double

  /// Costs of a step.
  package init(rowCount: Int, width: Int, operationCount: Int, updateSeconds: Double) {
    self.rowCount = rowCount
    self.width = width
    self.operationCount = operationCount
    self.updateSeconds = updateSeconds
  }

  /// Bytes that a rank sends to each other: z, its gradient, two numbers of double precision for each of its rows, there and
  /// back, and the rows looked up with their gradients, of which each other has its share.
  func byteCountToEach(rankCount: Int, rowElementCount: Double) -> Double {
    Double(8 * rowCount * width + 32 * rowCount) + 8 * rowElementCount / Double(rankCount)
  }
}

/// Where ranks run.
package struct Cluster: Sendable {
  /// Training ranks.
  package var rankCount: Int
  /// Ranks that add their gradients in shared memory before anything is sent.
  package var ranksPerNode: Int
  /// What a leader of a slice has of the network.
  package var link: LinkMeasurement
  /// Whether the communication thread has a core that no compute thread wants.
  package var hasSpareCore: Bool
  /// The largest bucket, in bytes of fp32.
  package var bucketByteCount: Int

  /// A cluster as it is, or is imagined.
  package init(
    rankCount: Int, ranksPerNode: Int, link: LinkMeasurement, hasSpareCore: Bool, bucketByteCount: Int
  ) {
    self.rankCount = rankCount
    self.ranksPerNode = ranksPerNode
    self.link = link
    self.hasSpareCore = hasSpareCore
    self.bucketByteCount = bucketByteCount
  }

  /// Nodes, the last of which may not be full.
  package var nodeCount: Int { (rankCount + ranksPerNode - 1) / ranksPerNode }
  /// Ranks of the fullest node.
  package var sliceCount: Int { min(ranksPerNode, rankCount) }
}
