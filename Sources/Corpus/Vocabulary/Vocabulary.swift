import Foundation
import Platform

/// The words of a model; a word's id is its line in `vocabulary.txt`, from 0.
///
/// Words are compared by their bytes: spellings that are canonically equivalent in Unicode are different words.
package struct Vocabulary: Sendable {
  /// Stands for every word outside the vocabulary.
  package static let unknownWord = "<unk>"
  /// Stands for the end of a line.
  package static let endOfSentenceWord = "<eos>"

  /// All words, by id.
  package let words: [String]
  /// XXH64 of the bytes of `vocabulary.txt`, as sixteen hexadecimal digits.
  package let hash: String
  /// The id of `<unk>`.
  package let unknownID: Int32
  /// The id of `<eos>`.
  package let endOfSentenceID: Int32
  let index: WordIndex

  /// The number of words, `<unk>` and `<eos>` included.
  package var count: Int { words.count }

  /// A vocabulary of these words in this order.
  ///
  /// - Throws: if a word is empty, holds white space or occurs twice, or `<unk>` or `<eos>` is missing.
  package init(words: [String]) throws {
    try self.init(words: words, origin: "the vocabulary")
  }

  /// - Parameter origin: what messages call the source of the words.
  init(words: [String], origin: String) throws {
    try self.init(
      words: words, table: Self.table(of: words, origin: origin),
      hash: Self.fileBytes(of: words).withUnsafeBytes(Self.hash), origin: origin)
  }

  /// Takes over a table in which a word's id is its index in `words`.
  init(words: [String], table: consuming WordTable, hash: String, origin: String) throws {
    guard let unknownID = table.id(of: Self.unknownWord), let endID = table.id(of: Self.endOfSentenceWord)
    else {
      throw MilmError("expected the words <unk> and <eos> in \(origin), found \(words.count) words without")
    }
    self.words = words
    index = WordIndex(
      table,
      finalIDs: FinalIDs(0..<Int32(words.count), unknownID: unknownID, endOfSentenceID: endID))
    self.unknownID = unknownID
    endOfSentenceID = endID
    self.hash = hash
  }

  package func word(_ id: Int32) -> String { words[Int(id)] }

  /// The id of a word, `unknownID` if it is not in the vocabulary.
  package func id(of word: String) -> Int32 { index.id(of: word) ?? unknownID }

  /// Whether a word has an id of its own.
  package func contains(_ word: String) -> Bool { index.id(of: word) != nil }

  /// The content of `vocabulary.txt`: one word per line.
  var fileBytes: [UInt8] { Self.fileBytes(of: words) }

  private static func fileBytes(of words: [String]) -> [UInt8] {
    var bytes: [UInt8] = []
    for word in words {
      bytes.append(contentsOf: word.utf8)
      bytes.append(UInt8(ascii: "\n"))
    }
    return bytes
  }

  /// XXH64 of the content of `vocabulary.txt`, in sixteen hexadecimal digits.
  static func hash(of fileBytes: UnsafeRawBufferPointer) -> String {
    hexadecimal(XXH64.hash(fileBytes))
  }

  private static func table(of words: [String], origin: String) throws -> WordTable {
    guard words.count <= Int(Int32.max) else {
      throw MilmError("expected at most \(Int32.max) words in \(origin), found \(words.count)")
    }
    var table = WordTable(minimumCapacity: words.count)
    for (id, spelling) in words.enumerated() {
      var spelling = spelling
      let insertedID = try spelling.withUTF8 { bytes in
        let word = UnsafeRawBufferPointer(bytes)
        guard !word.isEmpty else {
          throw MilmError("expected a word in line \(id + 1) of \(origin), found an empty line")
        }
        guard !word.contains(where: isWhiteSpace) else {
          throw MilmError("expected one word in line \(id + 1) of \(origin), found white space")
        }
        return table.add(word, count: 0)
      }
      guard insertedID == id else {
        throw MilmError(
          "expected each word once in \(origin), found “\(spelling)” in lines \(insertedID + 1) and \(id + 1)"
        )
      }
    }
    return table
  }
}

extension Vocabulary {
  /// Reads a `vocabulary.txt`.
  ///
  /// - Throws: an error that names the file and the line: not UTF-8, a repeated word, an empty line,
  ///   white space in a line, no newline at the end, or `<unk>` or `<eos>` missing.
  package init(contentsOf url: URL) throws {
    let name = url.relativePath
    let bytes = try TextSource.storedBytes(of: url)
    if let pointer = StoragePointer(bytes.bytes) {
      throw MilmError("expected a vocabulary at \(name), found \(pointer)")
    }
    try Self.checkUTF8(bytes.bytes, name: name)
    guard bytes.bytes.last == UInt8(ascii: "\n") else {
      throw MilmError(
        "expected \(name) to end with a newline, found \(bytes.count == 0 ? "no words" : "none")")
    }
    if let table = Self.table(ofLines: bytes) {
      let words = (0..<table.count).map { String(decoding: table.bytes(of: $0), as: UTF8.self) }
      try self.init(words: words, table: table, hash: Self.hash(of: bytes.bytes), origin: name)
    } else {
      // Slower, but this finds the line at fault.
      let lines = bytes.bytes.dropLast().split(
        separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
      try self.init(words: lines.map { String(decoding: $0, as: UTF8.self) }, origin: name)
    }
  }

  /// The words by line, nil unless every line is one word and no word occurs twice.
  private static func table(ofLines bytes: borrowing ByteBuffer) -> WordTable? {
    let lineCount = bytes.bytes.count { $0 == UInt8(ascii: "\n") }
    var table = WordTable(minimumCapacity: lineCount)
    var ids = TextIDs()
    table.count(bytes, into: &ids)
    // As many distinct words as newlines and no other byte: no repetition and no other white space.
    guard table.count == lineCount, table.byteCount + lineCount == bytes.count else { return nil }
    return table
  }

  /// Writes a `vocabulary.txt` atomically.
  package func write(to url: URL) throws {
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
