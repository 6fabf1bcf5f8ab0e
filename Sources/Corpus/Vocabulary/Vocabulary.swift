import Foundation
import Platform

/// The words a model knows; a word's id is its line in `vocabulary.txt`, from 0.
///
/// Words are compared by their bytes: spellings that Unicode calls equivalent are different words.
public struct Vocabulary: Sendable {
  /// What stands for every word outside the vocabulary.
  public static let unknownWord = "<unk>"
  /// What stands for the end of a line.
  public static let endOfSentenceWord = "<eos>"

  /// All words, by id.
  public let words: [String]
  /// XXH64 of the bytes of `vocabulary.txt`, as sixteen hexadecimal digits.
  public let hash: String
  /// The id of `<unk>`.
  public let unknownID: Int32
  /// The id of `<eos>`.
  public let endOfSentenceID: Int32
  let index: WordIndex

  /// The number of words, `<unk>` and `<eos>` included.
  public var count: Int { words.count }

  /// A vocabulary of these words in this order.
  ///
  /// - Throws: `MilmError` if a word is empty, holds white space or comes twice,
  ///   or `<unk>` or `<eos>` is missing.
  public init(words: [String]) throws {
    try self.init(words: words, origin: "the vocabulary")
  }

  /// - Parameter origin: what messages call the place the words come from.
  init(words: [String], origin: String) throws {
    try self.init(
      words: words, table: Self.table(of: words, origin: origin),
      hash: Self.fileBytes(of: words).withUnsafeBytes(Self.hash), origin: origin)
  }

  /// Takes over a table in which a word's id is its place among `words`.
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

  /// The word with an id.
  public func word(_ id: Int32) -> String { words[Int(id)] }

  /// The id of a word; `unknownID` for a word that is not in the vocabulary.
  public func id(of word: String) -> Int32 { index.id(of: word) ?? unknownID }

  /// What `vocabulary.txt` holds: one word a line.
  var fileBytes: [UInt8] { Self.fileBytes(of: words) }

  private static func fileBytes(of words: [String]) -> [UInt8] {
    var bytes: [UInt8] = []
    for word in words {
      bytes.append(contentsOf: word.utf8)
      bytes.append(UInt8(ascii: "\n"))
    }
    return bytes
  }

  /// XXH64 of what `vocabulary.txt` holds, in sixteen hexadecimal digits.
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
