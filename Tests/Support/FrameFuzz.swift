import Communication
import Platform

/// A fuzzer of the frame decoder: mutants of valid frames.
package struct FrameFuzz {
  /// Outcomes of the mutants.
  package struct Tally: Sendable, Equatable {
    /// All mutants.
    package var mutantCount = 0
    /// Mutants whose header agrees with the expectation, with a correct checksum.
    package var pastHeaderCount = 0
    /// Mutants that decoded to values.
    package var decodedCount = 0
    /// Mutants refused with an error.
    package var refusedCount = 0
  }

  private static let elementCount = 600
  private static let operation = MessageTag(name: "fuzz", phase: .reduce, step: 7, index: 3)

  private let expectation: FrameExpectation
  private let coder: FrameCoder
  private let frames: [[UInt8]]
  private let values = FloatBuffer(count: FrameFuzz.elementCount)
  private var random: SplitMix64

  /// Mutants of frames of one codec; the same for the same seed.
  package init(codec: Codec, seed: UInt64) {
    let coder = FrameCoder(maximumElementCount: Self.elementCount)
    self.coder = coder
    random = SplitMix64(state: seed)
    expectation = FrameExpectation(
      codec: codec, operation: Self.operation, sender: 1,
      elementCounts: Self.elementCount...Self.elementCount, blockLength: 32)
    // Frames of values that compress well, a little, and not at all reach different paths of the decoder.
    frames = [0, 3, 24].compactMap { Self.frame(codec, coder, randomBitCount: $0) }
  }

  /// Decodes `count` mutants; throws errors that are not the decoder's own.
  package mutating func run(_ count: Int) throws -> Tally {
    precondition(frames.count == 3, "valid frames")
    var tally = Tally()
    var mutant: [UInt8] = []
    for number in 0..<count {
      mutant = frames[number % frames.count]
      mutate(&mutant)
      if number / frames.count % 2 == 0 { Self.seal(&mutant) }
      tally.mutantCount += 1
      try decode(mutant, &tally)
    }
    return tally
  }

  private func decode(_ mutant: [UInt8], _ tally: inout Tally) throws {
    try mutant.withUnsafeBytes { bytes in
      if let header = try? FrameHeader(reading: bytes), (try? expectation.check(header)) != nil {
        tally.pastHeaderCount += 1
      }
      do {
        let count = try coder.decode(bytes, expecting: expectation, into: values.start)
        precondition(count == Self.elementCount, "as many values as expected")
        tally.decodedCount += 1
      } catch is MilmError {
        tally.refusedCount += 1
      }
    }
  }

  private mutating func mutate(_ bytes: inout [UInt8]) {
    for _ in 0..<Int.random(in: 1...4, using: &random) {
      switch Int.random(in: 0..<10, using: &random) {
      case 0: bytes.removeLast(Int.random(in: 0...min(bytes.count, 40), using: &random))
      case 1: bytes.append(contentsOf: repeatElement(7, count: Int.random(in: 1...40, using: &random)))
      case 2: change(&bytes, in: 0..<64)
      case 3, 4: change(&bytes, in: 64..<96)
      case 5, 6: change(&bytes, in: 72..<140)
      default: change(&bytes, in: 64..<max(65, bytes.count))
      }
    }
  }

  private mutating func change(_ bytes: inout [UInt8], in places: Range<Int>) {
    let index = Int.random(in: places, using: &random)
    guard index < bytes.count else { return }
    bytes[index] = UInt8.random(in: 0...255, using: &random)
  }

  /// Corrects the payload's size and the checksum.
  private static func seal(_ bytes: inout [UInt8]) {
    guard bytes.count >= FrameHeader.byteCount else { return }
    let size = bytes.count - FrameHeader.byteCount
    bytes.withUnsafeMutableBytes { bytes in
      bytes.storeBytes(of: UInt64(size).littleEndian, toByteOffset: 48, as: UInt64.self)
      let checksum = FrameHeader.checksum(of: UnsafeRawBufferPointer(bytes))
      bytes.storeBytes(of: checksum.littleEndian, toByteOffset: 56, as: UInt64.self)
    }
  }

  private static func frame(_ codec: Codec, _ coder: FrameCoder, randomBitCount: Int) -> [UInt8]? {
    let (source, residual, roundingError) = (
      FloatBuffer(count: elementCount), FloatBuffer(count: elementCount), FloatBuffer(count: elementCount)
    )
    var random = SplitMix64(state: 1)
    for index in 0..<elementCount {
      source.start[index] = Float(random.next() >> UInt64(64 - max(randomBitCount, 1))) * 0.001
    }
    var bytes = [UInt8](repeating: 0, count: FrameCoder.frameCapacity(elementCount: elementCount))
    let description = FrameDescription(
      codec: codec, operation: operation, sender: 1, elementCount: elementCount, blockLength: 32)
    let count = withExtendedLifetime((source, residual, roundingError)) {
      bytes.withUnsafeMutableBytes { bytes in
        try? coder.encode(
          source.start, as: description,
          feedback: ErrorFeedback(residual: residual.start, roundingError: roundingError.start), into: bytes)
      }
    }
    return count.map { Array(bytes[..<$0]) }
  }
}
