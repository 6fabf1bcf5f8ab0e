import Communication
import Platform
import TestSupport
import Testing

private let operation = MessageTag(name: "test", phase: .reduce, step: 7, index: 3)

/// One valid frame, and a decoder that expects it or something near it.
private struct Sample {
  let codec: Codec
  var bytes: [UInt8]
  private let coder = FrameCoder(maximumElementCount: 1000)

  init(_ codec: Codec) throws {
    self.codec = codec
    bytes = Array(repeating: 0, count: FrameCoder.frameCapacity(elementCount: 600))
    let values = gradient(seed: 1, count: 600)
    var roundingError = [Float](repeating: 0, count: 600)
    let residual = roundingError
    let description = FrameDescription(
      codec: codec, operation: operation, sender: 1, elementCount: 600, blockLength: 32)
    let count = try bytes.withUnsafeMutableBytes { [coder] bytes in
      try residual.withUnsafeBufferPointer { residual in
        try roundingError.withUnsafeMutableBufferPointer { roundingError in
          let feedback = ErrorFeedback(
            residual: try #require(residual.baseAddress),
            roundingError: try #require(roundingError.baseAddress))
          return try coder.encode(values, as: description, feedback: feedback, into: bytes)
        }
      }
    }
    bytes.removeLast(bytes.count - count)
  }

  func decode(
    _ bytes: [UInt8], codec: Codec? = nil, operation: MessageTag = operation, sender: Int = 1,
    elementCount: Int = 600, blockLength: Int = 32
  ) throws -> [Float] {
    var values = [Float](repeating: 0, count: 1000)
    let expectation = FrameExpectation(
      codec: codec ?? self.codec, operation: operation, sender: sender,
      elementCounts: elementCount...elementCount, blockLength: blockLength)
    let count = try bytes.withUnsafeBytes { bytes in
      try values.withUnsafeMutableBufferPointer {
        try coder.decode(bytes, expecting: expectation, into: try #require($0.baseAddress))
      }
    }
    return Array(values[..<count])
  }

  /// Makes the checksum right again.
  static func seal(_ bytes: inout [UInt8]) {
    guard bytes.count >= 64 else { return }
    let checksum = bytes.withUnsafeBytes { bytes -> UInt64 in
      let seed = XXH64.hash(UnsafeRawBufferPointer(rebasing: bytes[..<56]))
      let payload = UnsafeRawBufferPointer(rebasing: bytes[64...])
      return XXH64.hash(payload, seed: seed)
    }
    for index in 0..<8 { bytes[56 + index] = UInt8(truncatingIfNeeded: checksum >> UInt64(8 * index)) }
  }
}

struct FrameTests {
  @Test func aFrameOfAnotherOperationIsRefusedAndSaysWhy() throws {
    let sample = try Sample(.int8)
    let other = { (phase: MessageTag.Phase, step: Int, index: Int) in
      MessageTag(name: "test", phase: phase, step: step, index: index)
    }
    func reason(_ decode: () throws -> [Float]) -> String {
      do { return "\(try decode().count) values" } catch { return "\(error)" }
    }
    #expect(reason { try sample.decode(sample.bytes) } == "600 values")
    #expect(
      reason { try sample.decode(sample.bytes, operation: other(.reduce, 8, 3)) }
        == "step: expected 8, found 7")
    #expect(
      reason { try sample.decode(sample.bytes, operation: other(.reduce, 7, 4)) }
        == "bucket: expected 4, found 3")
    #expect(
      reason { try sample.decode(sample.bytes, operation: other(.rows, 7, 3)) }
        == "phase: expected 4, found 1")
    #expect(reason { try sample.decode(sample.bytes, sender: 2) } == "sender: expected 2, found 1")
    #expect(reason { try sample.decode(sample.bytes, codec: .bfloat16) } == "codec: expected 2, found 3")
    #expect(
      reason { try sample.decode(sample.bytes, elementCount: 601) } == "elements: expected 601, found 600")
    #expect(
      reason { try sample.decode(sample.bytes, blockLength: 31) } == "block length: expected 31, found 32")
  }

  @Test(arguments: Codec.allCases) func everyTruncationIsRefused(_ codec: Codec) throws {
    let sample = try Sample(codec)
    for count in 0..<sample.bytes.count {
      var bytes = Array(sample.bytes[..<count])
      #expect(throws: MilmError.self) { try sample.decode(bytes) }
      Sample.seal(&bytes)
      #expect(throws: MilmError.self) { try sample.decode(bytes) }
    }
  }

  @Test(arguments: Codec.allCases) func everyFlippedBitIsNoticed(_ codec: Codec) throws {
    let sample = try Sample(codec)
    for index in sample.bytes.indices {
      var bytes = sample.bytes
      bytes[index] ^= 1 << UInt8(index % 8)
      #expect(throws: MilmError.self) { try sample.decode(bytes) }
    }
  }

  /// Half of the mutants have a right checksum, so that what lies behind it is reached;
  /// `RankProgram fuzz` takes a million.
  @Test(arguments: Codec.allCases) func mutantsGiveValuesOrAnError(_ codec: Codec) throws {
    var fuzz = FrameFuzz(codec: codec, seed: 1)
    let tally = try fuzz.run(20_000)
    #expect(tally.decodedCount + tally.refusedCount == tally.mutantCount)
    #expect(tally.pastHeaderCount > 5000 && tally.decodedCount > 100, "\(tally)")
    #expect(tally.refusedCount > 15_000, "\(tally)")
  }
}
