import Communication
import Platform
import TestSupport
import Testing

/// When compression with zstd is worthwhile.
struct WirePriceTests {
  /// A price estimated from many equal steps with a wire speed of a megabyte per millisecond.
  private func price(exposedFraction: Double) -> WirePrice {
    var price = WirePrice()
    for _ in 0..<100 {
      price.update(wireByteCount: 1_000_000, wireSeconds: 1e-3, exposedSeconds: 1e-3 * exposedFraction)
    }
    return price
  }

  @Test func beforeTheFirstStepOnlyBytesCount() {
    #expect(WirePrice().isWorthwhile(byteCount: 1, coreSeconds: 10))
  }

  @Test func overlappedWireTimeIsFree() {
    #expect(!price(exposedFraction: 0).isWorthwhile(byteCount: 1_000_000, coreSeconds: 1e-6))
  }

  @Test func coreTimeIsFreeWhileTheStepWaits() {
    #expect(price(exposedFraction: 1).isWorthwhile(byteCount: 1, coreSeconds: 1))
  }

  @Test(arguments: [0.1, 0.5, 0.8]) func bothCountByTheExposedFraction(_ fraction: Double) {
    let price = price(exposedFraction: fraction)
    let coreSeconds = 1e-3 * fraction / (1 - fraction)
    #expect(price.isWorthwhile(byteCount: 1_000_000, coreSeconds: 0.99 * coreSeconds))
    #expect(!price.isWorthwhile(byteCount: 1_000_000, coreSeconds: 1.01 * coreSeconds))
  }

  @Test func aStepWithoutMessagesIsIgnored() {
    var price = WirePrice()
    price.update(wireByteCount: 0, wireSeconds: 1, exposedSeconds: 0)
    #expect(price.isWorthwhile(byteCount: 1, coreSeconds: 10))
  }

  /// Repeated rows, which zstd finds.
  @Test(arguments: Codec.allCases.filter { $0 != .uncompressed })
  func overlappedSectionsAreSentUncompressed(_ codec: Codec) throws {
    let (row, rowCount) = (gradient(seed: 1, count: 256), 4096)
    let values = (0..<rowCount).flatMap { _ in row }
    let (hidden, hiddenDecoded) = try coded(codec, values, price(exposedFraction: 0))
    let (exposed, exposedDecoded) = try coded(codec, values, price(exposedFraction: 1))
    #expect(exposed < hidden / 4, "\(exposed) of \(hidden) bytes")
    #expect(hidden >= codec.rawByteCount(elementCount: values.count, blockLength: 256) / 2)
    #expect(firstDifference(hiddenDecoded.bits, exposedDecoded.bits) == nil)
  }

  private func coded(
    _ codec: Codec, _ values: [Float], _ price: WirePrice
  ) throws -> (byteCount: Int, decoded: [Float]) {
    let coder = FrameCoder(maximumElementCount: values.count)
    var frame = [UInt8](repeating: 0, count: FrameCoder.frameCapacity(elementCount: values.count))
    var (decoded, roundingError) = (values, values)
    let operation = MessageTag(name: "test", phase: .reduce, step: 1, index: 0)
    let byteCount = try values.withUnsafeBufferPointer { values in
      try [Float](repeating: 0, count: values.count).withUnsafeBufferPointer { residual in
        try roundingError.withUnsafeMutableBufferPointer { roundingError in
          try frame.withUnsafeMutableBytes {
            try coder.encode(
              try #require(values.baseAddress),
              as: FrameDescription(
                codec: codec, operation: operation, sender: 0, elementCount: values.count, blockLength: 256),
              feedback: ErrorFeedback(
                residual: try #require(residual.baseAddress),
                roundingError: try #require(roundingError.baseAddress)),
              into: $0, price: price)
          }
        }
      }
    }
    let expectation = FrameExpectation(
      codec: codec, operation: operation, sender: 0, elementCounts: values.count...values.count,
      blockLength: 256)
    _ = try frame.withUnsafeBytes { frame in
      try decoded.withUnsafeMutableBufferPointer {
        try coder.decode(
          UnsafeRawBufferPointer(rebasing: frame[..<byteCount]), expecting: expectation,
          into: try #require($0.baseAddress))
      }
    }
    return (byteCount, decoded)
  }
}
