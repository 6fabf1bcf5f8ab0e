import Communication
import TestSupport
import Testing

/// Predictions for two nodes and a gradient of two ranges.
private func predictions(
  _ measurements: [CodecMeasurement], link: LinkMeasurement, hasSpareCore: Bool = true
) throws -> [ExchangePrediction] {
  try onLocalRanks(2) { communicator, thread in
    let ranges = [
      ExchangeRange(range: 0..<800_000, blockLength: 100, name: "first"),
      ExchangeRange(range: 800_000..<1_000_000, blockLength: 100, name: "second"),
    ]
    let exchange = try GradientExchange(
      communicator: communicator, thread: thread, elementCount: 1_000_000, ranges: ranges,
      configuration: ExchangeConfiguration(codec: .uncompressed, bucketByteCount: 400_000))
    var values = [Float](repeating: 1, count: 1_000_000)
    try values.withUnsafeMutableBufferPointer { buffer in
      exchange.begin(step: 0, flushing: false, gradient: try #require(buffer.baseAddress))
      for range in ranges { try exchange.submit(range: range.range) }
      _ = try exchange.finish()
      exchange.commit()
    }
    return measurements.map { exchange.predict($0, link: link, hasSpareCore: hasSpareCore) }
  }[0]
}

private func measurement(_ codec: Codec, byteCount: Double, seconds: Double = 1e-10) -> CodecMeasurement {
  let cost = CodingCost(encodeSeconds: seconds, decodeSeconds: seconds, byteCount: byteCount)
  return CodecMeasurement(codec: codec, costs: [cost, cost], elementCounts: [800_000, 200_000])
}

@Suite(.timeLimit(.minutes(5))) struct PredictionTests {
  /// Both hops carry half of a million elements: four megabytes as floats.
  @Test func aSlowLinkIsPredictedByItsBytes() throws {
    let link = LinkMeasurement(latencySeconds: 0, bytesPerSecond: 1e6)
    let all = try predictions(
      [measurement(.uncompressed, byteCount: 4), measurement(.int8, byteCount: 0.1)], link: link)
    #expect(abs(all[0].wireSeconds - 4) < 0.1 && abs(all[1].wireSeconds - 0.1) < 0.01)
    #expect(abs(all[0].ratio - 1) < 0.01 && abs(all[1].ratio - 40) < 0.1)
    #expect(all[0].exposedSeconds > 3.5, "little computing overlaps it")
    #expect(all.best(computeSeconds: 1)?.codec == .int8)
  }

  @Test func latencyCountsForEveryBucketAndHop() throws {
    let link = LinkMeasurement(latencySeconds: 0.01, bytesPerSecond: 1e15)
    let all = try predictions([measurement(.uncompressed, byteCount: 4)], link: link)
    #expect(abs(all[0].wireSeconds - 0.01 * 2 * 10) < 1e-6)
  }

  /// Coding a bucket takes as long as sending it; in sequence they would take twice as long.
  @Test func codingOverlapsTheWire() throws {
    let link = LinkMeasurement(latencySeconds: 0, bytesPerSecond: 1e6)
    // Two encodings and two decodings of half a bucket; two ways of half a bucket.
    let all = try predictions([measurement(.int8, byteCount: 1, seconds: 2 * 1e-6 / 4)], link: link)
    let (wire, coding) = (all[0].wireSeconds, all[0].encodeSeconds + all[0].decodeSeconds)
    #expect(abs(wire - 1) < 0.01 && abs(coding - 1) < 0.01)
    #expect(all[0].exposedSeconds > 1 && all[0].exposedSeconds < 1.4)
  }

  @Test func aFastLinkGetsTheMostExactOfEquals() throws {
    let link = LinkMeasurement(latencySeconds: 0, bytesPerSecond: 1e12)
    let all = try predictions(
      [measurement(.uncompressed, byteCount: 4), measurement(.int8, byteCount: 0.1, seconds: 1e-9)],
      link: link)
    #expect(all.best(computeSeconds: 10)?.codec == Codec.uncompressed)
    let equal = try predictions(
      [measurement(.int8, byteCount: 1), measurement(.int4, byteCount: 0.5)], link: link)
    #expect(equal.best(computeSeconds: 10)?.codec == .int8)
  }

  @Test func withoutPredictionsThereIsNoChoice() {
    #expect([ExchangePrediction]().best(computeSeconds: 1) == nil)
  }

  /// Real measurements, of ranks in one process.
  @Test func linkAndCodecsAreMeasured() throws {
    let measured = try onLocalRanks(3) { communicator, thread in
      let count = 100_000
      let exchange = try GradientExchange(
        communicator: communicator, thread: thread, elementCount: count,
        ranges: [ExchangeRange(range: 0..<count, blockLength: 32, name: "table")],
        configuration: ExchangeConfiguration(codec: .uncompressed))
      var values = gradient(seed: 1, count: count)
      let link = try #require(try exchange.measureLink())
      #expect(link.latencySeconds > 0 && link.bytesPerSecond > 0)
      return try values.withUnsafeMutableBufferPointer {
        try exchange.measure(Codec.allCases, on: try #require($0.baseAddress))
      }
    }
    for costs in measured.map({ $0.map { $0.costs[0] } }) {
      #expect(costs.allSatisfy { $0.encodeSeconds > 0 && $0.decodeSeconds > 0 && $0.square > 0 })
      let bytes = costs.map(\.byteCount)
      #expect(bytes == bytes.sorted(by: >), "\(bytes)")
      let errors = costs.map(\.squaredError)
      #expect(
        errors[0] == 0 && errors[1] == 0 && errors[2] > 0 && errors[3] > errors[2] && errors[4] > errors[3])
    }
  }
}
