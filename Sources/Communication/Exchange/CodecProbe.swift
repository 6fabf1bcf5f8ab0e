/// What coding one range of the gradient costs, as it was measured.
public struct CodingCost: Sendable, Equatable {
  /// Seconds of a core an element takes from floats to a frame.
  public let encodeSeconds: Double
  /// Seconds of a core an element takes from a frame to floats.
  public let decodeSeconds: Double
  /// Bytes of a frame an element takes.
  public let byteCount: Double
  /// The mean square of what one rounding changes.
  public let squaredError: Double
  /// The mean square of the values.
  public let square: Double

  /// The cost of an element.
  public init(
    encodeSeconds: Double, decodeSeconds: Double, byteCount: Double, squaredError: Double = 0,
    square: Double = 0
  ) {
    self.encodeSeconds = encodeSeconds
    self.decodeSeconds = decodeSeconds
    self.byteCount = byteCount
    self.squaredError = squaredError
    self.square = square
  }
}

/// What one codec costs on every range, in the order of the exchange's ranges.
public struct CodecMeasurement: Sendable, Equatable {
  /// The codec.
  public let codec: Codec
  /// The cost of an element of each range.
  public let costs: [CodingCost]
  /// How many elements each range has.
  public let elementCounts: [Int]

  /// The costs of a codec on ranges of so many elements.
  public init(codec: Codec, costs: [CodingCost], elementCounts: [Int]) {
    precondition(costs.count == elementCounts.count, "a cost a range")
    self.codec = codec
    self.costs = costs
    self.elementCounts = elementCounts
  }

  /// Seconds an element of the whole gradient takes from floats to a frame.
  public var encodeSeconds: Double { mean(\.encodeSeconds) }
  /// Seconds an element of the whole gradient takes from a frame to floats.
  public var decodeSeconds: Double { mean(\.decodeSeconds) }
  /// √(Σ error² ÷ Σ value²) of one rounding, from the samples, each counted as often as its range is large.
  public var relativeError: Double {
    let (error, square) = (mean(\.squaredError), mean(\.square))
    return square > 0 ? (error / square).squareRoot() : 0
  }

  private func mean(_ value: (CodingCost) -> Double) -> Double {
    let total = zip(costs, elementCounts).reduce(0) { $0 + value($1.0) * Double($1.1) }
    return total / Double(max(elementCounts.reduce(0, +), 1))
  }
}

extension GradientExchange {
  /// Parts of a range that are coded: what a range of a hundred buckets costs is seen from a few.
  private static let samplesPerRange = 6

  /// Codes samples of every range with each codec, between steps; a rank that sends nothing gets none.
  ///
  /// Where zstd may be left out there are two measurements of a codec: first with it, then without.
  public func measure(_ codecs: [Codec], on gradient: UnsafeMutablePointer<Float>) throws
    -> [CodecMeasurement]
  {
    guard !peers.isEmpty else { return [] }
    nonisolated(unsafe) let gradient = gradient
    return try thread.run { [self] in
      let count = plan.maximumPartCount
      let (zeros, lost) = (FloatBuffer(count: count), FloatBuffer(count: count))
      return try withExtendedLifetime((zeros, lost)) {
        let feedback = ErrorFeedback(residual: zeros.start, remainder: lost.start)
        return try codecs.flatMap { codec in
          let ways = try [WirePrice(), .nothing].map { price in
            CodecMeasurement(
              codec: codec, costs: try ranges.map { try cost(of: codec, on: $0, gradient, feedback, price) },
              elementCounts: ranges.map(\.range.count))
          }
          let sizes = ways.map { $0.costs.map(\.byteCount) }
          return sizes[0] == sizes[1] ? [ways[0]] : ways
        }
      }
    }
  }

  private func cost(
    of codec: Codec, on range: ExchangeRange, _ gradient: UnsafeMutablePointer<Float>,
    _ feedback: ErrorFeedback, _ price: WirePrice
  ) throws -> CodingCost {
    let parts = (plan.bucketIndices(of: range.range) ?? 0..<0).flatMap { bucket in
      (0..<plan.buckets[bucket].partCount).map { (plan.buckets[bucket], plan.buckets[bucket].part($0)) }
    }.filter { !$0.1.isEmpty }
    let sampleCount = min(parts.count, Self.samplesPerRange)
    var (elementCount, byteCount, encode, decode) = (0, 0, 0.0, 0.0)
    var (squaredError, square) = (0.0, 0.0)
    for sample in 0..<sampleCount {
      let (bucket, part) = parts[sample * parts.count / sampleCount]
      let values = gradient + part.lowerBound
      let (frameByteCount, encodeSeconds, decodeSeconds) = try code(
        values, bucket, part.count, codec, feedback, price)
      elementCount += part.count
      byteCount += frameByteCount
      encode += encodeSeconds
      decode += decodeSeconds
      for index in 0..<part.count {
        let lost = Double(values[index] - workspace.decoded.start[index])
        squaredError += lost * lost
        square += Double(values[index]) * Double(values[index])
      }
    }
    let count = Double(max(elementCount, 1))
    return CodingCost(
      encodeSeconds: encode / count, decodeSeconds: decode / count, byteCount: Double(byteCount) / count,
      squaredError: squaredError / count, square: square / count)
  }

  private func code(
    _ values: UnsafePointer<Float>, _ bucket: Bucket, _ count: Int, _ codec: Codec, _ feedback: ErrorFeedback,
    _ price: WirePrice
  ) throws -> (byteCount: Int, encodeSeconds: Double, decodeSeconds: Double) {
    let operation = CollectiveOperation(name: bucket.name, phase: .probe, step: 0, index: bucket.index)
    let frame = FrameDescription(
      codec: codec, operation: operation, sender: communicator.rank, elementCount: count,
      blockLength: bucket.blockLength)
    let expectation = FrameExpectation(
      codec: codec, operation: operation, sender: communicator.rank, elementCounts: count...count,
      blockLength: bucket.blockLength)
    let slot = workspace.outgoing[0][0]
    let start = coreSeconds
    let byteCount = try workspace.coder.encode(
      values, as: frame, feedback: feedback, into: slot, price: price)
    let middle = coreSeconds
    _ = try workspace.coder.decode(
      UnsafeRawBufferPointer(rebasing: slot[..<byteCount]), expecting: expectation,
      into: workspace.decoded.start)
    return (byteCount, middle - start, coreSeconds - middle)
  }
}
