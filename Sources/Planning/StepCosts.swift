import Communication

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

  /// Costs as they were measured.
  public init(
    computeSeconds: Double, updateSeconds: Double, ready: [(range: Int, share: Double)],
    codecs: [CodecMeasurement], rowElementCount: Double, tokenCount: Int
  ) {
    self.computeSeconds = computeSeconds
    self.updateSeconds = updateSeconds
    self.ready = ready
    self.codecs = codecs
    self.rowElementCount = rowElementCount
    self.tokenCount = tokenCount
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
