import Platform

/// One stretch of a text that splits no word, and its place.
final class TextBlock {
  var bytes = ByteBuffer(capacity: BlockReader.byteCount)
  /// Where the words are read from instead, once raw text has been tokenized.
  var tokenized = ByteBuffer()
  /// The first byte of the block that is not UTF-8, once that was looked for.
  var invalidOffset: Int?
  fileprivate(set) var sourceIndex = 0
  /// Offset of the first byte in its text.
  fileprivate(set) var offset = 0
}

/// Cuts texts, one after the other, into blocks that end at white space or at a line's end.
struct BlockReader {
  /// Where a text may be cut.
  enum Boundary {
    case whiteSpace
    /// A line that is longer than a block is cut between words, where no rule of the tokenizer looks across.
    case lineEnd
  }

  static let byteCount = 1 << 19
  /// The longest stretch without a boundary: what is longer is no text, and would take the memory away.
  static let byteCountLimit = 1 << 22

  private let sources: [TextSource]
  private let boundary: Boundary
  private let endsLastLine: Bool
  private let hashing: Bool
  private var stream: TextStream?
  private var carry: [UInt8] = []
  private var lastByte: UInt8?
  private var sourceIndex = 0
  private var offset = 0
  private var finishedByteCount = 0

  /// SHA-256 of each text that has been read to its end, in order; empty without hashing.
  private(set) var digests: [String] = []

  /// - Parameter endsLastLine: whether a last line without a newline is given one.
  init(_ sources: [TextSource], boundary: Boundary, endsLastLine: Bool, hashing: Bool) {
    self.sources = sources
    self.boundary = boundary
    self.endsLastLine = endsLastLine
    self.hashing = hashing
  }

  /// Bytes taken so far from all texts, as stored.
  var storedByteCount: Int { finishedByteCount + (stream?.storedByteCount ?? 0) }

  /// Reads the next block; false when all texts are at their end.
  mutating func read(into block: TextBlock) throws -> Bool {
    guard sourceIndex < sources.count else { return false }
    let stream = try self.stream ?? sources[sourceIndex].open(hashing: hashing)
    self.stream = stream
    begin(block)
    while true {
      block.bytes.reserve(Self.byteCount)
      let readByteCount = try stream.read(
        into: UnsafeMutableRawBufferPointer(rebasing: block.bytes.free[..<Self.byteCount]))
      if readByteCount == 0 {
        finishSource(block)
        break
      }
      block.bytes.extend(by: readByteCount)
      lastByte = block.bytes.bytes.last
      if cut(block, searchingLast: readByteCount) { break }
      guard block.bytes.count <= Self.byteCountLimit else { throw unbounded() }
    }
    offset += block.bytes.count
    return true
  }

  private mutating func begin(_ block: TextBlock) {
    block.sourceIndex = sourceIndex
    block.offset = offset
    block.bytes.truncate(to: 0)
    carry.withUnsafeBytes { block.bytes.append($0) }
    carry.removeAll(keepingCapacity: true)
  }

  /// Keeps what lies behind the last boundary for the next block; false if there is no boundary.
  private mutating func cut(_ block: TextBlock, searchingLast byteCount: Int) -> Bool {
    let bytes = block.bytes.bytes
    let searched = bytes[(bytes.count - byteCount)...]
    let last =
      switch boundary {
      // A carriage return at the very end stays with the line feed that may follow.
      case .whiteSpace: searched.dropLast(lastByte == 0x0D ? 1 : 0).lastIndex { isWhiteSpace($0) }
      case .lineEnd: searched.lastIndex { $0 == UInt8(ascii: "\n") } ?? Self.lastPlainSpace(in: bytes)
      }
    guard let last else { return false }
    carry.append(contentsOf: bytes[(last + 1)...])
    block.bytes.truncate(to: last + 1)
    return true
  }

  /// The last space that follows a letter or a digit.
  ///
  /// All that the tokenizer asks about the rest of a line is what comes next, and whether any letter or digit
  /// does: before such a space, that one answers both.
  private static func lastPlainSpace(in bytes: UnsafeRawBufferPointer) -> Int? {
    bytes.indices.dropFirst().last { index in
      bytes[index] == UInt8(ascii: " ") && endsWithWordPart(bytes[..<index])
    }
  }

  private static func endsWithWordPart(_ bytes: Slice<UnsafeRawBufferPointer>) -> Bool {
    // Up to three bytes of the form 10xxxxxx follow a character's first one.
    guard let start = bytes.suffix(4).lastIndex(where: { $0 & 0xC0 != 0x80 }) else { return false }
    let byteCount = bytes.endIndex - start
    let first = bytes[start]
    guard byteCount == (first < 0x80 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4) else { return false }
    return TextCharacter(at: start, in: bytes.base).isWordPart
  }

  private mutating func finishSource(_ block: TextBlock) {
    if endsLastLine, let lastByte, lastByte != UInt8(ascii: "\n") {
      block.bytes.append(UInt8(ascii: "\n"))
    }
    if let digest = stream?.digest() { digests.append(digest) }
    finishedByteCount = storedByteCount
    stream = nil
    lastByte = nil
    sourceIndex += 1
    offset = 0
  }

  private func unbounded() -> MilmError {
    let place = "\(sources[sourceIndex].name) from byte \(offset)"
    return MilmError(
      "expected words of text in \(place), found more than \(Self.byteCountLimit) bytes without an end of a word"
    )
  }
}

/// Whether a byte is ASCII white space: tab, line feed, vertical tab, form feed, carriage return or space.
func isWhiteSpace(_ byte: UInt8) -> Bool {
  byte == 0x20 || (byte >= 0x09 && byte <= 0x0D)
}
