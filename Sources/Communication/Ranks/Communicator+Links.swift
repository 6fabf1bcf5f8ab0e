/// What two ranks measure of the way between them, and of their clocks.
extension Communicator {
  /// Latency and rate of the link to one other rank, which calls this at the same time with this rank as its peer.
  ///
  /// Both send while they receive. Takes about `seconds`, more where one message of a megabyte takes longer.
  public func measureLink(to peer: Int, seconds: Double) throws -> LinkMeasurement {
    let largestByteCount = 8 << 20
    let (outgoing, incoming) = (
      AlignedBuffer(byteCount: largestByteCount), AlignedBuffer(byteCount: largestByteCount)
    )
    defer { withExtendedLifetime((outgoing, incoming)) {} }
    let pair = [Swift.min(rank, peer), Swift.max(rank, peer)]
    func trade(_ byteCount: Int) throws -> Double {
      let sent = UnsafeRawBufferPointer(rebasing: outgoing.bytes[..<byteCount])
      let start = ContinuousClock.now
      _ = try exchange(
        .control("measuring a link"), with: pair, outgoing: [sent, sent],
        incoming: [incoming.bytes, incoming.bytes], limits: nil)
      return (ContinuousClock.now - start).seconds
    }
    let latency = try (0..<20).map { _ in try trade(64) }.sorted()[10]
    var (byteCount, best, spent) = (1 << 20, 0.0, 0.0)
    while true {
      let own = Swift.max(try trade(byteCount) - latency, 1e-9)
      // Both must stop after the same message: the slower one's time counts.
      outgoing.bytes.storeBytes(of: own.bitPattern, as: UInt64.self)
      _ = try trade(8)
      let others = Double(bitPattern: incoming.bytes.load(as: UInt64.self))
      let duration = Swift.max(own, others)
      spent += duration
      best = Swift.max(best, Double(byteCount) / duration)
      if spent >= seconds { return LinkMeasurement(latencySeconds: latency, bytesPerSecond: best) }
      byteCount = Swift.min(2 * byteCount, largestByteCount)
    }
  }

  /// How far every rank's clock is ahead of rank 0's, in seconds, as `now` reads it; all ranks call it.
  ///
  /// Read right after a meeting of all: what it says is wrong by at most the time that meeting took, which is the
  /// second value.
  public func clockOffsets(now: () -> Double) throws -> (offsets: [Double], uncertainty: Double) {
    var best: (offsets: [Double], uncertainty: Double) = ([], .infinity)
    for _ in 0..<5 {
      try barrier("before clocks are read")
      let start = ContinuousClock.now
      try barrier("clocks are read")
      let reading = now()
      let uncertainty = Double(
        bitPattern: try maximum("meeting", (ContinuousClock.now - start).seconds.bitPattern))
      let readings = try sum("clocks", (0..<rankCount).map { $0 == rank ? reading : 0 })
      if uncertainty < best.uncertainty { best = (readings.map { $0 - readings[0] }, uncertainty) }
    }
    return best
  }
}
