import Corpus
import Foundation
import TestSupport
import Testing

struct TextEncodingTests {
  private let vocabulary: Vocabulary

  init() throws {
    vocabulary = try Vocabulary(words: [
      "<unk>", "<eos>", "a", "b", "c", "longerthaneight", "longerthaneighty",
    ])
  }

  /// Ids: 0 unknown, 1 end of line, 2 a, 3 b, 4 c.
  @Test(
    arguments: [
      ("", []),
      ("a", [2, 1]),
      ("a\n", [2, 1]),
      ("a\n\n", [2, 1, 1]),
      ("a\n\nb", [2, 1, 1, 3, 1]),
      ("\n\n", [1, 1]),
      (" ", [1]),
      ("a \n ", [2, 1, 1]),
      ("a\r\nb\r\n", [2, 1, 3, 1]),
      ("a\rb\n", [2, 3, 1]),
      ("\ta\t\tb\u{B}c\u{C}a  \n", [2, 3, 4, 2, 1]),
      ("a\u{A0}b\n", [0, 1]),
      ("\u{FEFF}a b\n", [2, 3, 1]),
      ("\u{FEFF}", []),
      ("a\n\u{FEFF}a\n", [2, 1, 0, 1]),
      ("x a <unk> <eos>\n", [0, 2, 0, 1, 1]),
      ("longerthaneight longerthaneighty longerthaneigh longerth", [5, 6, 0, 0, 1]),
      ("é日本語\u{1F600}\u{7F}!\"# a", [0, 2, 1]),
    ] as [(String, [Int32])])
  func everyLineHasOneEnd(text: String, expected: [Int32]) throws {
    let encoded = try vocabulary.encode(text)
    #expect(encoded.tokens.ids == expected)
    #expect(encoded.unknownTokenCount == expected.count { $0 == 0 })
    #expect(encoded.lineCount == expected.count { $0 == 1 } - (text.contains("<eos>") ? 1 : 0))
  }

  @Test func aPromptDoesNotEndItsLine() throws {
    #expect(try vocabulary.encode("a\nb c", endsLastLine: false).tokens.ids == [2, 1, 3, 4])
    #expect(try vocabulary.encode("\u{FEFF}a", endsLastLine: false).tokens.ids == [2])
  }

  @Test(arguments: [1, 2, 3])
  func blockBoundariesDoNotChangeTheTokens(threads: Int) throws {
    let folder = try TemporaryFolder(inMemory: false)
    let words = ["a", "b", "c", "é", "longerthaneight", "longerthaneighty", "z"]
    let separators = [" ", "\n", "\t", "  ", "\r\n"]
    var text = ""
    for index in 0..<600_000 { text += words[index * 7919 % 7] + separators[index * 104_729 / 13 % 5] }
    let file = try folder.write(text, to: "text")
    let encoded = try vocabulary.encode(contentsOf: file, threadCount: threads)
    let reference = text.utf8.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
      .map { $0.split { $0 == 32 || $0 == 9 || $0 == 13 }.map { vocabulary.id(of: String($0) ?? "") } }
      .joined(separator: [1])
    // A text without a final newline gets a final `<eos>`.
    let expected = Array(reference) + (text.hasSuffix("\n") ? [] : [1])
    #expect(firstDifference(encoded.tokens.ids, expected) == nil)
  }

  @Test func aWordLongerThanABlockIsOneWord() throws {
    let folder = try TemporaryFolder(inMemory: false)
    let word = String(repeating: "w", count: 3_500_001)
    let vocabulary = try Vocabulary(words: ["<unk>", "<eos>", word])
    let file = try folder.write("\(word) x\(word) \(word)", to: "text")
    #expect(try vocabulary.encode(contentsOf: file).tokens.ids == [2, 0, 2, 1])
  }

  @Test(arguments: [1, 2])
  func namesTheFirstByteThatIsNotUTF8(threads: Int) throws {
    let folder = try TemporaryFolder(inMemory: false)
    var bytes = Array(String(repeating: "a b c\n", count: 500_000).utf8)
    bytes[6 * 300_000 + 2] = 0xFF
    bytes[6 * 450_000 + 2] = 0xFF
    let file = try folder.write(bytes, to: "text")
    let said = try #require(message { _ = try vocabulary.encode(contentsOf: file, threadCount: threads) })
    #expect(
      said.contains("UTF-8") && said.contains("line 300001") && said.contains("byte 1800002"), "\(said)")
    #expect(said.contains(file.path))
  }

  @Test func aTruncatedCharacterAtTheEndIsNotUTF8() throws {
    let folder = try TemporaryFolder()
    let file = try folder.write([0x61, 0x0A, 0xE2, 0x80], to: "text")
    let said = try #require(message { _ = try vocabulary.encode(contentsOf: file) })
    #expect(said.contains("line 2, byte 2"), "\(said)")
  }

  @Test func refusesDirectorysAndMissingFiles() throws {
    let folder = try TemporaryFolder()
    let said = try #require(message { _ = try vocabulary.encode(contentsOf: URL(filePath: folder.path)) })
    #expect(said.contains("regular file"))
    let missing = try #require(message { _ = try vocabulary.encode(contentsOf: folder.url("none.txt")) })
    #expect(missing.contains("none.txt") && missing.contains("No such file") && !missing.contains("\n"))
  }
}
