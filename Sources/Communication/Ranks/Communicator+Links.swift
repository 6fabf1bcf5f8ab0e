import Platform

/// What two ranks measure of the way between them.
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
      return (ContinuousClock.now - start).inSeconds
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
}
