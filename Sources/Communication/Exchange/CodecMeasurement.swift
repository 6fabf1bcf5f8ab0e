import Platform

/// Measured cost of coding one range of the gradient, per element.
package struct CodingCost: Sendable, Equatable {
  /// Core seconds per element from floats to a frame.
  package let encodeSeconds: Double
  /// Core seconds per element from a frame to floats.
  package let decodeSeconds: Double
  /// Bytes of a frame per element.
  package let byteCount: Double
  /// Mean square of the error of one rounding.
  package let squaredError: Double
  /// Mean square of the values.
  package let square: Double

  /// Costs per element.
  package init(
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

/// Measured costs of one codec on every range, in the order of the exchange's ranges.
package struct CodecMeasurement: Sendable, Equatable {
  package let codec: Codec
  /// The costs of each range.
  package let costs: [CodingCost]
  /// The element count of each range.
  package let elementCounts: [Int]

  /// Costs of a codec on ranges of these element counts.
  package init(codec: Codec, costs: [CodingCost], elementCounts: [Int]) {
    precondition(costs.count == elementCounts.count, "one cost per range")
    self.codec = codec
    self.costs = costs
    self.elementCounts = elementCounts
  }

  /// Mean core seconds per element of the gradient from floats to a frame.
  package var encodeSeconds: Double { mean(\.encodeSeconds) }
  /// Mean core seconds per element of the gradient from a frame to floats.
  package var decodeSeconds: Double { mean(\.decodeSeconds) }
  /// √(Σ error² ÷ Σ value²) of one rounding, from samples weighted by the size of their range.
  package var relativeError: Double {
    let (error, square) = (mean(\.squaredError), mean(\.square))
    return square > 0 ? (error / square).squareRoot() : 0
  }

  private func mean(_ value: (CodingCost) -> Double) -> Double {
    let total = zip(costs, elementCounts).reduce(0) { $0 + value($1.0) * Double($1.1) }
    return total / Double(max(elementCounts.reduce(0, +), 1))
  }
}

extension GradientExchange {
  /// Chunks sampled per range; a few represent a range of a hundred buckets.
  private static let samplesPerRange = 6

  /// Measures each codec on samples of every range, between steps; empty on a rank that sends nothing.
  ///
  /// Where zstd can be left out a codec has two measurements: first with it, then without.
  package func measure(_ codecs: [Codec], on gradient: UnsafeMutablePointer<Float>) throws
    -> [CodecMeasurement]
  {
    guard !peers.isEmpty else { return [] }
    nonisolated(unsafe) let gradient = gradient
    return try thread.run { [self] in
      let count = plan.maximumChunkCount
      let (residual, roundingError) = (FloatBuffer(count: count), FloatBuffer(count: count))
      return try withExtendedLifetime((residual, roundingError)) {
        let feedback = ErrorFeedback(residual: residual.start, roundingError: roundingError.start)
        return try codecs.flatMap { codec in
          let measurements = try [WirePrice(), .nothing].map { price in
            CodecMeasurement(
              codec: codec, costs: try ranges.map { try cost(of: codec, on: $0, gradient, feedback, price) },
              elementCounts: ranges.map(\.range.count))
          }
          let sizes = measurements.map { $0.costs.map(\.byteCount) }
          return sizes[0] == sizes[1] ? [measurements[0]] : measurements
        }
      }
    }
  }

  private func cost(
    of codec: Codec, on range: ExchangeRange, _ gradient: UnsafeMutablePointer<Float>,
    _ feedback: ErrorFeedback, _ price: WirePrice
  ) throws -> CodingCost {
    let samples = (plan.bucketIndices(of: range.range) ?? 0..<0).flatMap { bucket in
      (0..<plan.buckets[bucket].chunkCount).map { (plan.buckets[bucket], plan.buckets[bucket].chunk($0)) }
    }.filter { !$0.1.isEmpty }
    let sampleCount = min(samples.count, Self.samplesPerRange)
    var (elementCount, byteCount, encode, decode) = (0, 0, 0.0, 0.0)
    var (squaredError, square) = (0.0, 0.0)
    for sample in 0..<sampleCount {
      let (bucket, chunk) = samples[sample * samples.count / sampleCount]
      let values = gradient + chunk.lowerBound
      let (frameByteCount, encodeSeconds, decodeSeconds) = try code(
        values, bucket, chunk.count, codec, feedback, price)
      elementCount += chunk.count
      byteCount += frameByteCount
      encode += encodeSeconds
      decode += decodeSeconds
      for index in 0..<chunk.count {
        let roundingError = Double(values[index] - decoded.start[index])
        squaredError += roundingError * roundingError
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
    let operation = MessageTag(name: bucket.name, phase: .probe, step: 0, index: bucket.index)
    let format = FrameFormat(codec: codec, blockLength: bucket.blockLength)
    let start = coreSeconds
    let message = try chunks.encode(
      values, count: count, as: format, operation, into: 0, feedback: feedback, price: price)
    let middle = coreSeconds
    try chunks.decode(
      message, from: communicator.rank, as: format, operation, elementCounts: count...count,
      into: decoded.start)
    return (message.bytes.count, middle - start, coreSeconds - middle)
  }
}
