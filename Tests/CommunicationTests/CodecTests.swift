import Communication
import Foundation
import TestSupport
import Testing

private let counts = [0, 1, 3, 255, 256, 257, 1000, 4099]
private let operation = MessageTag(name: "test", phase: .reduce, step: 7, index: 3)

/// The result of a codec: its frame, the decoded values, and the roundingError.
private struct Coded {
  var frame: [UInt8]
  var decoded: [Float]
  var roundingError: [Float]

  init(_ codec: Codec, _ values: [Float], residual: [Float]? = nil, blockLength: Int = 256)
    throws
  {
    let count = values.count
    let coder = FrameCoder(maximumElementCount: count)
    let residual = residual ?? Array(repeating: 0, count: count)
    roundingError = Array(repeating: 0, count: max(count, 1))
    decoded = Array(repeating: 0, count: max(count, 1))
    frame = Array(repeating: 0, count: FrameCoder.frameCapacity(elementCount: count))
    var decodedAtOnce = decoded
    let description = FrameDescription(
      codec: codec, operation: operation, sender: 1, elementCount: count, blockLength: blockLength)
    let byteCount = try (values + [0]).withUnsafeBufferPointer { values in
      try (residual + [0]).withUnsafeBufferPointer { residual in
        try roundingError.withUnsafeMutableBufferPointer { roundingError in
          let feedback = ErrorFeedback(
            residual: try #require(residual.baseAddress),
            roundingError: try #require(roundingError.baseAddress))
          return try decodedAtOnce.withUnsafeMutableBufferPointer { decoded in
            try frame.withUnsafeMutableBytes {
              try coder.encode(
                try #require(values.baseAddress), as: description, feedback: feedback, into: $0,
                decoded: try #require(decoded.baseAddress))
            }
          }
        }
      }
    }
    frame.removeLast(frame.count - byteCount)
    let expectation = FrameExpectation(
      codec: codec, operation: operation, sender: 1, elementCounts: count...count, blockLength: blockLength)
    let decodedCount = try frame.withUnsafeBytes { frame in
      try decoded.withUnsafeMutableBufferPointer {
        try coder.decode(frame, expecting: expectation, into: try #require($0.baseAddress))
      }
    }
    #expect(decodedCount == count)
    #expect(
      firstDifference(decodedAtOnce.bits, decoded.bits) == nil, "the encoder returns what receivers decode")
    decoded.removeLast(decoded.count - count)
    roundingError.removeLast(roundingError.count - count)
  }
}

/// Edge cases of floats.
private let awkward: [Float] = [
  .nan, Float(bitPattern: 0xFFA0_0001), .infinity, -.infinity, 0, -0.0, .leastNonzeroMagnitude,
  -.leastNormalMagnitude, .greatestFiniteMagnitude, 1, -1, 1.0000001,
]

struct CodecTests {
  @Test(arguments: Codec.allCases.filter(\.isExact), counts) func exactCodecsKeepEveryBit(
    _ codec: Codec, _ count: Int
  )
    throws
  {
    let values = gradient(seed: 1, count: count)
    #expect(try firstDifference(Coded(codec, values).decoded.bits, values.bits) == nil)
    #expect(try Coded(codec, awkward).decoded.bits == awkward.bits)
  }

  @Test(arguments: counts) func bfloat16AgreesWithItsDefinition(_ count: Int) throws {
    let values = gradient(seed: 2, count: count)
    let residual = gradient(seed: 3, count: count).map { $0 * 0.01 }
    let coded = try Coded(.bfloat16, values, residual: residual)
    let sums = zip(values, residual).map { $0 + $1 }
    let expected = sums.map(roundedToBFloat16)
    #expect(firstDifference(coded.decoded.bits, expected.bits) == nil)
    #expect(firstDifference(coded.roundingError.bits, zip(sums, expected).map { $0 - $1 }.bits) == nil)
  }

  @Test func bfloat16KeepsWhatIsNotFinite() throws {
    let coded = try Coded(.bfloat16, awkward)
    for (value, decoded) in zip(awkward, coded.decoded) where value.isNaN { #expect(decoded.isNaN) }
    #expect(coded.decoded[2...3].elementsEqual([.infinity, -.infinity]))
    #expect(coded.decoded[8] == .infinity)
    #expect(coded.roundingError.allSatisfy { $0.isFinite })
    #expect(try Coded(.bfloat16, [1.00390625, 1.01171875]).decoded == [1, 1.015625], "ties go to even")
  }

  @Test(arguments: Codec.integers, [1, 32, 33, 256, 5000])
  func integersAgreeWithTheirDefinition(_ codec: Codec, _ blockLength: Int) throws {
    for count in counts { try agreesWithDefinition(codec, count: count, blockLength: blockLength) }
  }

  private func agreesWithDefinition(_ codec: Codec, count: Int, blockLength: Int) throws {
    let values = gradient(seed: 4, count: count)
    let residual = gradient(seed: 5, count: count).map { $0 * 0.01 }
    let coded = try Coded(codec, values, residual: residual, blockLength: blockLength)
    let sums = zip(values, residual).map { $0 + $1 }
    let expected = rounded(sums, highestCode: try #require(codec.highestCode), blockLength: blockLength)
    #expect(firstDifference(coded.decoded.bits, expected.bits) == nil)
    #expect(firstDifference(coded.roundingError.bits, zip(sums, expected).map { $0 - $1 }.bits) == nil)
  }

  @Test(arguments: Codec.integers, [1, 31, 32])
  func integersDifferByHalfAStepAtMost(_ codec: Codec, _ blockLength: Int) throws {
    let highestCode = try #require(codec.highestCode)
    let values = gradient(seed: 6, count: blockLength * 100)
    let decoded = try Coded(codec, values, blockLength: blockLength).decoded
    for start in stride(from: 0, to: values.count, by: blockLength) {
      let block = start..<start + blockLength
      let step = (values[block].map(abs).max() ?? 0) / highestCode
      for index in block { #expect(abs(values[index] - decoded[index]) <= step * 0.5001) }
    }
  }

  @Test(arguments: Codec.integers, [Float.nan, .infinity, -.infinity])
  func aBlockWithOneBadEntryIsAllNaN(_ codec: Codec, _ bad: Float) throws {
    var values = gradient(seed: 7, count: 600)
    values[300] = bad
    let coded = try Coded(codec, values)
    #expect(coded.decoded[256..<512].allSatisfy { $0.isNaN })
    #expect(coded.roundingError[256..<512].allSatisfy { $0 == 0 })
    #expect(
      coded.decoded[..<256].allSatisfy { $0.isFinite } && coded.decoded[512...].allSatisfy { $0.isFinite })
  }

  @Test(arguments: Codec.integers) func aBlockTooSmallForAScaleIsKeptAsRemainder(_ codec: Codec) throws {
    let tiny = [Float](repeating: 5e-38, count: 100)
    let coded = try Coded(codec, [Float](repeating: 0, count: 256) + tiny)
    #expect(coded.decoded.allSatisfy { $0 == 0 })
    #expect(coded.roundingError[256...].elementsEqual(tiny))
  }

  @Test func int8KeepsTheLargestOfEachBlockClose() throws {
    for value: Float in [3.4e38, -3.4e38, 1, 1.5e-36, -1.5e-36] {
      let decoded = try Coded(.int8, [value, value / 2]).decoded[0]
      #expect(abs(decoded / value - 1) < 1e-6, "\(value) became \(decoded)")
    }
    let limit = try Coded(.int8, [.greatestFiniteMagnitude, 1])
    #expect(limit.decoded.allSatisfy { $0.isNaN } && limit.roundingError.allSatisfy { $0 == 0 })
  }

  @Test func incompressibleSectionsAreStored() throws {
    let bits = (0..<1000).map {
      Float(bitPattern: noise(8, $0).bitPattern ^ noise(9, $0).bitPattern &* 747_796_405)
    }
    #expect(try Coded(.uncompressed, bits).frame.count == 64 + 8 + 4 * 1000)
    #expect(try Coded(.uncompressed, [Float](repeating: 1, count: 1000)).frame.count < 200)
  }

  /// Three planes of noise and one that compresses; and noise with a compressible range, which the samples include.
  @Test func longPlanesOfNoiseAreStoredAndOthersCompressed() throws {
    let count = 600_000
    let values = gradient(seed: 11, count: count)
    let stored = try Coded(.lossless, values).frame.count
    #expect(stored > 3 * count && stored < 4 * count)
    #expect(try firstDifference(Coded(.lossless, values).decoded.bits, values.bits) == nil)
    let halfZero = values.indices.map { $0 < count / 2 ? 0 : values[$0] }
    #expect(try Coded(.lossless, halfZero).frame.count < 2 * count)
  }

  @Test func eachCodecIsSmallerThanTheOneBefore() throws {
    let values = gradient(seed: 10, count: 10_000)
    let sizes = try Codec.allCases.map {
      try Coded($0, values, blockLength: 32).frame.count
    }
    #expect(sizes == sizes.sorted(by: >), "\(sizes)")
  }
}

/// To 8 significant bits, ties to even.
private func roundedToBFloat16(_ value: Float) -> Float {
  let step = Float(sign: .plus, exponent: value.exponent - 7, significand: 1)
  return value == 0 ? value : (value / step).rounded(.toNearestOrEven) * step
}

extension Codec {
  /// The highest code of an integer codec; nil for others.
  fileprivate var highestCode: Float? {
    switch self {
    case .uncompressed, .lossless, .bfloat16: nil
    case .int8: 127
    case .int4: 7
    }
  }

  fileprivate static var integers: [Codec] { allCases.filter { $0.highestCode != nil } }
}

/// To integers up to `highestCode` times a scale, ties to even; for finite values of normal scales.
private func rounded(_ values: [Float], highestCode: Float, blockLength: Int) -> [Float] {
  stride(from: 0, to: values.count, by: blockLength).flatMap { start in
    let block = values[start..<min(start + blockLength, values.count)]
    let scale = (block.map(abs).max() ?? 0) / highestCode
    guard scale > 0 else { return block.map { _ in Float(0) } }
    let inverse = 1 / scale
    return block.map { Float(Int(($0 * inverse).rounded(.toNearestOrEven))) * scale }
  }
}
