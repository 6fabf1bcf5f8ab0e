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
  func sections(elementCount: Int, blockLength: Int) -> SectionList {
    var list = SectionList()
    switch self {
    case .none:
      // Whoever wants floats as they are wants them at once, unless most of them are zero.
      list.append(4 * elementCount, Compression(level: -1, codesLiterals: false, worthwhileShare: 0.5))
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
  public func rawByteCount(elementCount: Int, blockLength: Int) -> Int {
    sections(elementCount: elementCount, blockLength: blockLength).rawByteCount
  }
}

/// How hard zstd tries on one section.
struct Compression {
  let level: Int
  /// Whether bytes that no match covers are Huffman-coded at negative levels too.
  let codesLiterals: Bool
  /// The share of its bytes to which a long section has to shrink, or it is sent as it is: zstd takes several
  /// times as long as the codec, so a tenth fewer bytes are no gain on any link where bytes matter little.
  var worthwhileShare = 0.9

  /// Codes and mantissas: level −1 finds the nearly proportional rows of a softmax gradient as well as 1 does, and gives up
  /// sooner where there are none.
  static let codes = Compression(level: -1, codesLiterals: false)
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
