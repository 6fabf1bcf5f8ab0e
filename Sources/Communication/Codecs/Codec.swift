/// How floats become bytes on the wire; each is followed by zstd where that makes them fewer.
public enum Codec: String, CaseIterable, Sendable, Codable {
  /// 32-bit floats as they are.
  case none
  /// 32-bit floats in byte planes: exponents compress, mantissas seldom.
  case lossless
  /// Rounded to 16 bits, in byte planes.
  case bfloat16
  /// Integers of −127…127 and one scale a block.
  case int8
  /// Integers of −7…7, two a byte, and one scale a block.
  case int4

  /// Whether decoding gives the bits that were encoded.
  public var isExact: Bool { self == .none || self == .lossless }

  /// The codec's number in a frame.
  var code: UInt8 {
    switch self {
    case .none: 0
    case .lossless: 1
    case .bfloat16: 2
    case .int8: 3
    case .int4: 4
    }
  }

  /// The sections of `elementCount` floats, which are compressed one by one.
  func sections(elementCount: Int, blockLength: Int, compressionLevel: Int) -> SectionList {
    let usual = Compression(level: compressionLevel, codesLiterals: false)
    var list = SectionList()
    switch self {
    case .none:
      list.append(4 * elementCount, usual)
    case .lossless:
      list.append(elementCount, .exponents)
      for _ in 0..<3 { list.append(elementCount, usual) }
    case .bfloat16:
      list.append(elementCount, .exponents)
      list.append(elementCount, usual)
    case .int8:
      list.append(4 * elementCount.dividedRoundingUp(by: blockLength), .scales)
      list.append(elementCount, usual)
    case .int4:
      list.append(4 * elementCount.dividedRoundingUp(by: blockLength), .scales)
      let wholeBlockCount = elementCount / blockLength
      let tailCount = elementCount % blockLength
      list.append((blockLength + 1) / 2 * wholeBlockCount + (tailCount + 1) / 2, usual)
    }
    return list
  }

  /// The bytes of `elementCount` floats before zstd.
  public func rawByteCount(elementCount: Int, blockLength: Int) -> Int {
    sections(elementCount: elementCount, blockLength: blockLength, compressionLevel: 1).rawByteCount
  }
}

/// How hard zstd tries on one section.
struct Compression {
  let level: Int
  /// Whether bytes that no match covers are Huffman-coded at negative levels too.
  let codesLiterals: Bool

  /// Exponents repeat in no order: a code that shortens the common ones gains all there is,
  /// searching for matches only takes time.
  static let exponents = Compression(level: -5, codesLiterals: true)
  /// Scales are few.
  static let scales = Compression(level: 1, codesLiterals: true)
}

/// At most four byte ranges that follow each other, each with its own compression.
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
