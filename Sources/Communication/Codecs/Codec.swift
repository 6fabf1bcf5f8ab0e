import CKernels

/// How floats are encoded on the wire; zstd follows where it saves bytes.
///
/// The cases are ordered from the most exact and largest to the smallest: `auto` prefers the earlier of two that are
/// equally fast.
package enum Codec: String, CaseIterable, Sendable, Codable {
  /// 32-bit floats as they are.
  case uncompressed = "none"
  /// 32-bit floats in byte planes: exponents compress, mantissas rarely.
  case lossless
  /// Rounded to 16 bits, in byte planes.
  case bfloat16
  /// Integers of −127…127 and one scale per block.
  case int8
  /// Integers of −7…7, two per byte, and one scale per block.
  case int4

  /// Whether decoding restores every bit.
  package var isExact: Bool { self == .uncompressed || self == .lossless }

  /// The codec's number in a frame.
  var code: UInt8 {
    switch self {
    case .uncompressed: 0
    case .lossless: 1
    case .bfloat16: 2
    case .int8: 3
    case .int4: 4
    }
  }

  /// The sections of `elementCount` floats, each compressed on its own.
  func sections(elementCount: Int, blockLength: Int) -> SectionList {
    var list = SectionList()
    switch self {
    case .uncompressed:
      // Compression is worthwhile only where most floats are zero.
      list.append(4 * elementCount, Compression(level: -1, codesLiterals: false, largestFraction: 0.5))
    case .lossless:
      list.append(elementCount, .exponents)
      for _ in 0..<3 { list.append(elementCount, .codes) }
    case .bfloat16:
      list.append(elementCount, .exponents)
      list.append(elementCount, .codes)
    case .int8:
      list.append(4 * elementCount.dividedRoundingUp(by: blockLength), .scales)
      list.append(elementCount, .codes)
    case .int4:
      list.append(4 * elementCount.dividedRoundingUp(by: blockLength), .scales)
      let wholeBlockCount = elementCount / blockLength
      let tailCount = elementCount % blockLength
      list.append((blockLength + 1) / 2 * wholeBlockCount + (tailCount + 1) / 2, .codes)
    }
    return list
  }

  /// The bytes of `elementCount` floats before zstd.
  package func rawByteCount(elementCount: Int, blockLength: Int) -> Int {
    sections(elementCount: elementCount, blockLength: blockLength).rawByteCount
  }
}

/// zstd settings of one section.
struct Compression {
  let level: Int
  /// Whether literals are Huffman-coded also at negative levels.
  let codesLiterals: Bool
  /// The compressed fraction above which a long section is sent uncompressed: zstd takes several times as long as the
  /// codec, and saving less than a tenth is not worth it.
  var largestFraction = 0.9

  /// Codes and mantissas: level −1 finds the nearly proportional rows of a softmax gradient as well as level 1, and stops
  /// searching sooner where there are none.
  static let codes = Compression(level: -1, codesLiterals: false)
  /// Exponents repeat in no order: entropy coding gains all there is, match search only takes time.
  static let exponents = Compression(level: -5, codesLiterals: true)
  /// Scales are few.
  static let scales = Compression(level: 1, codesLiterals: true)
}

/// At most four consecutive byte ranges, each with its own compression.
struct SectionList {
  private(set) var count = 0
  private(set) var rawByteCount = 0
  private var byteCounts = InlineArray<4, Int>(repeating: 0)
  private var compressions = InlineArray<4, Compression>(repeating: .scales)

  subscript(index: Int) -> (byteCount: Int, compression: Compression) {
    (byteCounts[index], compressions[index])
  }

  fileprivate mutating func append(_ byteCount: Int, _ compression: Compression) {
    byteCounts[count] = byteCount
    compressions[count] = compression
    count += 1
    rawByteCount += byteCount
  }
}

extension Int {
  /// The quotient, rounded up; for counts.
  func dividedRoundingUp(by divisor: Int) -> Int {
    (self + divisor - 1) / divisor
  }
}

/// Error feedback: rounding errors of earlier steps, and where the new ones are stored.
///
/// Both have as many elements as the values; they do not overlap each other or the values.
package struct ErrorFeedback {
  /// Added to the values before rounding.
  package let residual: UnsafePointer<Float>
  /// Receives the sum minus the decoded values.
  package let roundingError: UnsafeMutablePointer<Float>

  /// Feedback from one buffer into another.
  package init(residual: UnsafePointer<Float>, roundingError: UnsafeMutablePointer<Float>) {
    self.residual = residual
    self.roundingError = roundingError
  }
}

extension Codec {
  /// Writes the sections of `count` values to `raw`, one after the other.
  ///
  /// Layouts, all little-endian: `uncompressed` floats; `lossless` four planes; `bfloat16` two planes;
  /// `int8` and `int4` the scales in four planes, then the codes. `scales` is scratch, one per block.
  /// A lossy codec needs feedback, an exact one ignores it.
  func encode(
    _ values: UnsafePointer<Float>, count: Int, blockLength: Int, feedback: ErrorFeedback?,
    scales: UnsafeMutablePointer<Float>, into raw: UnsafeMutableRawPointer
  ) {
    let bytes = raw.assumingMemoryBound(to: UInt8.self)
    switch self {
    case .uncompressed:
      raw.copyMemory(from: values, byteCount: 4 * count)
    case .lossless:
      CKernels_codecSplitPlanes(values, count, bytes)
    case .bfloat16:
      guard let feedback else { preconditionFailure("\(self) needs error feedback") }
      CKernels_codecEncodeBFloat16(values, feedback.residual, count, bytes, feedback.roundingError)
    case .int8:
      guard let feedback else { preconditionFailure("\(self) needs error feedback") }
      let blockCount = count.dividedRoundingUp(by: blockLength)
      let codes = (raw + 4 * blockCount).assumingMemoryBound(to: Int8.self)
      CKernels_codecEncodeInt8(
        values, feedback.residual, count, blockLength, scales, codes, feedback.roundingError)
      CKernels_codecSplitPlanes(scales, blockCount, bytes)
    case .int4:
      guard let feedback else { preconditionFailure("\(self) needs error feedback") }
      let blockCount = count.dividedRoundingUp(by: blockLength)
      CKernels_codecEncodeInt4(
        values, feedback.residual, count, blockLength, scales, bytes + 4 * blockCount, feedback.roundingError)
      CKernels_codecSplitPlanes(scales, blockCount, bytes)
    }
  }

  /// Reads what `encode` has written.
  func decode(
    _ raw: UnsafeRawPointer, count: Int, blockLength: Int, scales: UnsafeMutablePointer<Float>,
    into values: UnsafeMutablePointer<Float>
  ) {
    let bytes = raw.assumingMemoryBound(to: UInt8.self)
    switch self {
    case .uncompressed:
      UnsafeMutableRawPointer(values).copyMemory(from: raw, byteCount: 4 * count)
    case .lossless:
      CKernels_codecJoinPlanes(bytes, count, values)
    case .bfloat16:
      CKernels_codecDecodeBFloat16(bytes, count, values)
    case .int8:
      let blockCount = count.dividedRoundingUp(by: blockLength)
      let codes = (raw + 4 * blockCount).assumingMemoryBound(to: Int8.self)
      CKernels_codecJoinPlanes(bytes, blockCount, scales)
      CKernels_codecDecodeInt8(scales, codes, count, blockLength, values)
    case .int4:
      let blockCount = count.dividedRoundingUp(by: blockLength)
      CKernels_codecJoinPlanes(bytes, blockCount, scales)
      CKernels_codecDecodeInt4(scales, bytes + 4 * blockCount, count, blockLength, values)
    }
  }
}
