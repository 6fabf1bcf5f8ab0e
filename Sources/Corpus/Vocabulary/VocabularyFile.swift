import Foundation

extension Vocabulary {
  /// Reads a `vocabulary.txt`.
  ///
  /// - Throws: `CorpusError` naming the file and the line: not UTF-8, a word twice, an empty line,
  ///   white space in a line, no newline at the end, or `<unk>` or `<eos>` missing.
  public init(contentsOf url: URL) throws {
    let name = url.relativePath
    let bytes = try TextSource.file(url).bytes()
    try Self.checkUTF8(bytes, name: name)
    guard bytes.last == UInt8(ascii: "\n") else {
      throw CorpusError(
        "expected \(name) to end with a newline, found \(bytes.isEmpty ? "no words" : "none")")
    }
    let lines = bytes.dropLast().split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
    try self.init(words: lines.map { String(decoding: $0, as: UTF8.self) }, origin: name)
  }

  /// Writes a `vocabulary.txt`, whole or not at all.
  public func write(to url: URL) throws {
    try fileBytes.withUnsafeBytes { try WholeFile.writeAll($0, to: url) }
  }

  private static func checkUTF8(_ bytes: [UInt8], name: String) throws {
    do {
      _ = try UTF8Span(validating: bytes.span)
    } catch {
      let offset = error.byteOffsets.lowerBound
      let line = bytes[..<offset].count { $0 == UInt8(ascii: "\n") } + 1
      throw CorpusError("expected UTF-8 in \(name), found another byte in line \(line), byte \(offset)")
    }
  }
}
