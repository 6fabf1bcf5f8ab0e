import Platform

/// What the link between the leaders of a slice does, as it was measured.
public struct LinkMeasurement: Sendable, Equatable {
  /// Seconds of an exchange of almost nothing.
  public let latencySeconds: Double
  /// Bytes a second that a rank sends while it receives as many.
  public let bytesPerSecond: Double
  /// Seconds of a core that a byte takes which is sent while another is received.
  public let coreSecondsPerByte: Double

  /// A link as it was measured, or is imagined.
  public init(latencySeconds: Double, bytesPerSecond: Double, coreSecondsPerByte: Double = 0) {
    self.latencySeconds = latencySeconds
    self.bytesPerSecond = bytesPerSecond
    self.coreSecondsPerByte = coreSecondsPerByte
  }
}

extension GradientExchange {
  private static let latencyRoundCount = 20
  private static let volumeSeconds = 0.2
  private static let volumeRounds = 5...16
  private static let messageByteCount = 8 << 20

  /// Measures the link in the pattern of the exchange; all ranks call it between steps.
  ///
  /// A rank that sends nothing gets nil.
  public func measureLink() throws -> LinkMeasurement? {
    guard peers.count > 1 else { return nil }
    return try thread.run { [self] in
      let latencies = try (0..<Self.latencyRoundCount).map { _ in try sendToPeers(byteCount: 64) }
      let latency = latencies.sorted()[Self.latencyRoundCount / 2]
      let byteCount = min(Self.messageByteCount, workspace.outgoing[0][0].count)
      let coreStart = coreSeconds
      // The slowest of each round, so that everyone stops after the same one; one that something got in the way of is no measure.
      var rounds: [Double] = []
      while rounds.count < Self.volumeRounds.lowerBound
        || rounds.count < Self.volumeRounds.upperBound && rounds.reduce(0, +) < Self.volumeSeconds
      {
        rounds.append(try largestOfPeers(max(try sendToPeers(byteCount: byteCount) - latency, 1e-9)))
      }
      let sentByteCount = Double(byteCount * (peers.count - 1))
      return LinkMeasurement(
        latencySeconds: latency, bytesPerSecond: sentByteCount / rounds.sorted()[rounds.count / 2],
        coreSecondsPerByte: (coreSeconds - coreStart) / (sentByteCount * Double(rounds.count)))
    }
  }

  private var probe: CollectiveOperation {
    CollectiveOperation(name: "measuring the link", phase: .probe, step: 0, index: 0)
  }

  private func sendToPeers(byteCount: Int) throws -> Double {
    let start = ContinuousClock.now
    let outgoing = peers.indices.map {
      UnsafeRawBufferPointer(rebasing: workspace.outgoing[0][$0][..<byteCount])
    }
    let incoming = peers.indices.map { workspace.incomingParts[0][$0] }
    _ = try communicator.exchange(probe, with: peers, outgoing: outgoing, incoming: incoming, limits: nil)
    return (ContinuousClock.now - start).inSeconds
  }

  private func largestOfPeers(_ value: Double) throws -> Double {
    let outgoing = peers.indices.map { index in
      let slot = workspace.outgoing[0][index]
      slot.storeBytes(of: value.bitPattern, as: UInt64.self)
      return UnsafeRawBufferPointer(rebasing: slot[..<8])
    }
    let incoming = peers.indices.map { workspace.incomingParts[0][$0] }
    let byteCounts = try communicator.exchange(
      probe, with: peers, outgoing: outgoing, incoming: incoming, limits: nil)
    return peers.indices.reduce(value) { largest, index in
      guard peers[index] != communicator.rank, byteCounts[index] == 8 else { return largest }
      return max(largest, Double(bitPattern: incoming[index].load(as: UInt64.self)))
    }
  }
}
