import Communication
import Training

/// What a step of one rank costs, as it was measured, whatever the number of ranks.
public struct StepCosts: Sendable {
  /// Seconds of forward and backward pass.
  public var computeSeconds: Double
  /// Seconds of norm and optimizer.
  public var updateSeconds: Double
  /// The ranges of the gradient in the order in which they are ready: number, and at which share of the computing.
  public var ready: [(range: Int, share: Double)]
  /// What each codec costs on each range; those the configuration allows, the most exact first.
  public var codecs: [CodecMeasurement]
  /// Numbers that a rank's rows of the tied matrix have, those of the words that occurred.
  public var rowElementCount: Double
  /// Words of a rank's step.
  public var tokenCount: Int
  /// What it takes to share the vocabulary out; nil where every rank has all of it.
  public var sharing: SharingCosts?

  /// Costs as they were measured.
  public init(
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
public struct SharingCosts: Sendable {
  /// Rows of z, over all segments of the step.
  public var rowCount: Int
  /// E.
  public var width: Int
  /// Exchanges for which all ranks wait.
  public var operationCount: Int
  /// Seconds of the update of all words, of which a rank has its share alone.
  public var updateSeconds: Double

  /// Costs of a step.
  public init(rowCount: Int, width: Int, operationCount: Int, updateSeconds: Double) {
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
public struct Cluster: Sendable {
  /// Training ranks.
  public var rankCount: Int
  /// Ranks that add their gradients in shared memory before anything is sent.
  public var ranksPerNode: Int
  /// What a leader of a slice has of the network.
  public var link: LinkMeasurement
  /// Whether the communication thread has a core that no compute thread wants.
  public var hasSpareCore: Bool
  /// The largest bucket, in bytes of fp32.
  public var bucketByteCount: Int

  /// A cluster as it is, or is imagined.
  public init(
    rankCount: Int, ranksPerNode: Int, link: LinkMeasurement, hasSpareCore: Bool, bucketByteCount: Int
  ) {
    self.rankCount = rankCount
    self.ranksPerNode = ranksPerNode
    self.link = link
    self.hasSpareCore = hasSpareCore
    self.bucketByteCount = bucketByteCount
  }

  /// Nodes, the last of which may not be full.
  public var nodeCount: Int { (rankCount + ranksPerNode - 1) / ranksPerNode }
  /// Ranks of the fullest node.
  public var sliceCount: Int { min(ranksPerNode, rankCount) }
}
