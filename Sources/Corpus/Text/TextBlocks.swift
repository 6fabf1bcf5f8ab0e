import Foundation
import Platform

/// The blocks of texts, one after the other, for several threads to share.
///
/// `@unchecked Sendable`: `take` and `count` are called by one thread at a time each, and touch different fields.
final class TextBlocks: @unchecked Sendable {
  private let sources: [TextSource]
  private let tokenizer: Tokenizer?
  private let onRead: (_ storedByteCount: Int) throws -> Void
  private var reader: BlockReader
  private var countedSource = 0
  private var countedLineCount = 0

  /// - Parameters:
  ///   - tokenizer: takes raw text apart; nil where words are separated already.
  ///   - endsLastLine: whether a last line without a newline counts as a line.
  ///   - onRead: called after each block with the bytes read so far, from one thread at a time; may throw to
  ///     stop.
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

  /// SHA-256 of each text, after the last block, where it was asked for.
  var digests: [String] { reader.digests }

  /// Bytes taken so far, as the texts are stored.
  var storedByteCount: Int { reader.storedByteCount }

  /// Reads the next block, one call at a time; false at the end.
  func take(into block: TextBlock) throws -> Bool {
    guard try reader.read(into: block) else { return false }
    try onRead(reader.storedByteCount)
    return true
  }

  /// Checks that a block is UTF-8, takes it apart into words where that is asked for, and gives `body` its words.
  func prepare(_ block: TextBlock, _ body: (borrowing ByteBuffer) -> Void) {
    do {
      _ = try UTF8Span(validating: Span(_unsafeBytes: block.bytes.bytes))
      block.invalidOffset = nil
    } catch {
      block.invalidOffset = error.byteOffsets.lowerBound
      return
    }
    guard let tokenizer else {
      block.bytes.seal()
      return body(block.bytes)
    }
    block.tokenized.truncate(to: 0)
    tokenizer.tokenize(block.bytes.bytes, into: &block.tokenized)
    block.tokenized.seal()
    body(block.tokenized)
  }

  /// Takes note of a block's lines, block after block in their order; throws for one that is not UTF-8.
  func count(_ block: TextBlock, lineCount: Int) throws {
    if countedSource != block.sourceIndex { (countedSource, countedLineCount) = (block.sourceIndex, 0) }
    if let invalid = block.invalidOffset {
      let line = countedLineCount + block.bytes.bytes[..<invalid].count { $0 == UInt8(ascii: "\n") } + 1
      throw MilmError(
        "expected UTF-8 in \(sources[block.sourceIndex].name), "
          + "found another byte in line \(line), byte \(block.offset + invalid)")
    }
    countedLineCount += lineCount
  }
}
