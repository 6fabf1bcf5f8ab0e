import Foundation
import Platform

/// The blocks of a sequence of texts, for several threads.
///
/// `@unchecked Sendable`: `take` and `count` are each called by one thread at a time, and use different fields.
final class TextBlocks: @unchecked Sendable {
  private let sources: [TextSource]
  private let tokenizer: Tokenizer?
  private let onRead: (_ storedByteCount: Int) throws -> Void
  private var reader: BlockReader
  private var countedSource = 0
  private var countedLineCount = 0

  /// - Parameters:
  ///   - tokenizer: tokenizes raw text; nil if the texts are already tokenized.
  ///   - endsLastLine: whether a last line without a newline counts as a line.
  ///   - onRead: called after each block with the bytes read so far, from one thread at a time; may throw to stop.
  init(
    _ sources: [TextSource], tokenizer: Tokenizer?, endsLastLine: Bool = true, hashing: Bool = false,
    onRead: @escaping (_ storedByteCount: Int) throws -> Void = { _ in }
  ) {
    self.sources = sources
    self.tokenizer = tokenizer
    self.onRead = onRead
    reader = BlockReader(
      sources, boundary: tokenizer == nil ? .whiteSpace : .lineEnd, endsLastLine: endsLastLine,
      hashing: hashing)
  }

  /// SHA-256 of each text after the last block, if requested.
  var digests: [String] { reader.digests }

  /// Bytes read so far, as stored.
  var storedByteCount: Int { reader.storedByteCount }

  /// Reads the next block, one call at a time; false at the end.
  func next(into block: TextBlock) throws -> Bool {
    guard try reader.read(into: block) else { return false }
    try onRead(reader.storedByteCount)
    return true
  }

  /// Checks that a block is text, tokenizes it if requested, and passes its tokens to `body`.
  func prepare(_ block: TextBlock, _ body: (borrowing ByteBuffer) -> Void) {
    block.fault = TextFault(in: block.bytes.bytes)
    guard block.fault == nil else { return }
    guard let tokenizer else {
      block.bytes.seal()
      return body(block.bytes)
    }
    block.tokenized.truncate(to: 0)
    tokenizer.tokenize(block.bytes.bytes, into: &block.tokenized)
    block.tokenized.seal()
    body(block.tokenized)
  }

  /// Counts a block's lines, in the order of the blocks; throws if the block is not text.
  func count(_ block: TextBlock, lineCount: Int) throws {
    if countedSource != block.sourceIndex { (countedSource, countedLineCount) = (block.sourceIndex, 0) }
    if let fault = block.fault {
      let line = countedLineCount + block.bytes.bytes[..<fault.offset].count { $0 == UInt8(ascii: "\n") } + 1
      throw MilmError(
        "expected \(fault.expected) in \(sources[block.sourceIndex].name), "
          + "found \(fault.found) in line \(line), byte \(block.offset + fault.offset)")
    }
    countedLineCount += lineCount
  }
}

/// A block of a text that splits no token, and its position.
final class TextBlock {
  var bytes = ByteBuffer(capacity: BlockReader.byteCount)
  /// The tokenized form, which replaces `bytes` if the text is raw.
  var tokenized = ByteBuffer()
  /// The first error that validation found.
  var fault: TextFault?
  fileprivate(set) var sourceIndex = 0
  /// Byte offset of the block in its text.
  fileprivate(set) var offset = 0
}

/// Cuts a sequence of texts into blocks that end at white space or at the end of a line.
struct BlockReader {
  /// Where a text may be cut.
  enum Boundary {
    case whiteSpace
    /// A line longer than a block is cut between tokens, at a place that no rule of the tokenizer looks across.
    case lineEnd
  }

  static let byteCount = 1 << 19
  /// The longest text without a boundary; anything longer is not text and would exhaust memory.
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

  /// SHA-256 of each text that was read to its end, in order; empty without hashing.
  private(set) var digests: [String] = []

  /// - Parameter endsLastLine: whether a last line without a newline gets one.
  init(_ sources: [TextSource], boundary: Boundary, endsLastLine: Bool, hashing: Bool) {
    self.sources = sources
    self.boundary = boundary
    self.endsLastLine = endsLastLine
    self.hashing = hashing
  }

  /// Bytes read so far from all texts, as stored.
  var storedByteCount: Int { finishedByteCount + (stream?.storedByteCount ?? 0) }

  /// Reads the next block; false at the end of the last text.
  mutating func read(into block: TextBlock) throws -> Bool {
    guard sourceIndex < sources.count else { return false }
    let stream = try self.stream ?? begin(sources[sourceIndex])
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
      // No longer text; where it ends is of no interest.
      let latest = UnsafeRawBufferPointer(rebasing: block.bytes.bytes.suffix(readByteCount))
      if latest.firstOffset(of: 0) != nil { break }
      guard block.bytes.count <= Self.byteCountLimit else { throw unbounded() }
    }
    offset += block.bytes.count
    return true
  }

  private mutating func begin(_ source: TextSource) throws -> TextStream {
    let stream = try source.open(hashing: hashing)
    offset = try stream.begin(name: source.name)
    self.stream = stream
    return stream
  }

  private mutating func begin(_ block: TextBlock) {
    block.sourceIndex = sourceIndex
    block.offset = offset
    block.bytes.truncate(to: 0)
    carry.withUnsafeBytes { block.bytes.append($0) }
    carry.removeAll(keepingCapacity: true)
  }

  /// Moves what follows the last boundary to the next block; false if there is no boundary.
  private mutating func cut(_ block: TextBlock, searchingLast byteCount: Int) -> Bool {
    let bytes = block.bytes.bytes
    let searched = bytes[(bytes.count - byteCount)...]
    let last =
      switch boundary {
      // A carriage return at the very end stays with a line feed that may follow.
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
  /// The tokenizer's rules look ahead only for the next character and for any letter or digit; before such a
  /// space, the preceding letter or digit answers both.
  private static func lastPlainSpace(in bytes: UnsafeRawBufferPointer) -> Int? {
    bytes.indices.dropFirst().last { index in
      bytes[index] == UInt8(ascii: " ") && endsWithWordPart(bytes[..<index])
    }
  }

  private static func endsWithWordPart(_ bytes: Slice<UnsafeRawBufferPointer>) -> Bool {
    // Up to three bytes of the form 10xxxxxx follow the first byte of a character.
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
  }

  private func unbounded() -> MilmError {
    let place = "\(sources[sourceIndex].name) from byte \(offset)"
    return MilmError(
      "expected words of text in \(place), found more than \(Self.byteCountLimit) bytes without a word boundary"
    )
  }
}

/// Whether a byte is ASCII white space: tab, line feed, vertical tab, form feed, carriage return or space.
func isWhiteSpace(_ byte: UInt8) -> Bool {
  byte == 0x20 || (byte >= 0x09 && byte <= 0x0D)
}
