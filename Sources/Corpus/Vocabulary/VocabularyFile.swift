import Foundation
import Platform

extension Vocabulary {
  /// Reads a `vocabulary.txt`.
  ///
  /// - Throws: `MilmError` naming the file and the line: not UTF-8, a word twice, an empty line,
  ///   white space in a line, no newline at the end, or `<unk>` or `<eos>` missing.
  public init(contentsOf url: URL) throws {
    let name = url.relativePath
    let bytes = try TextSource.file(url).bytes()
    try Self.checkUTF8(bytes.bytes, name: name)
    guard bytes.bytes.last == UInt8(ascii: "\n") else {
      throw MilmError(
        "expected \(name) to end with a newline, found \(bytes.count == 0 ? "no words" : "none")")
    }
    if let table = Self.table(ofLines: bytes) {
      let words = (0..<table.count).map { String(decoding: table.bytes(of: $0), as: UTF8.self) }
      try self.init(words: words, table: table, hash: Self.hash(of: bytes.bytes), origin: name)
    } else {
      // Slowly, but this finds the line that is wrong.
      let lines = bytes.bytes.dropLast().split(
        separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
      try self.init(words: lines.map { String(decoding: $0, as: UTF8.self) }, origin: name)
    }
  }

  /// The words by their lines; nil unless each line is one word, and each word is there once.
  private static func table(ofLines bytes: borrowing ByteBuffer) -> WordTable? {
    let lineCount = bytes.bytes.count { $0 == UInt8(ascii: "\n") }
    var table = WordTable(minimumCapacity: lineCount)
    var ids = TextIDs()
    table.count(bytes, into: &ids)
    // As many words as newlines, and no byte beside: no word came again, and there is no other white space.
    guard table.count == lineCount, table.byteCount + lineCount == bytes.count else { return nil }
    return table
  }

  /// Writes a `vocabulary.txt`, whole or not at all.
  public func write(to url: URL) throws {
    try fileBytes.withUnsafeBytes { try AtomicFile.write($0, to: url.path) }
  }

  private static func checkUTF8(_ bytes: UnsafeRawBufferPointer, name: String) throws {
    do {
      _ = try UTF8Span(validating: bytes.assumingMemoryBound(to: UInt8.self).span)
    } catch {
      let offset = error.byteOffsets.lowerBound
      let line = bytes[..<offset].count { $0 == UInt8(ascii: "\n") } + 1
      throw MilmError("expected UTF-8 in \(name), found another byte in line \(line), byte \(offset)")
    }
  }
}
