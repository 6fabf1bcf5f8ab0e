import Corpus
import Foundation
import Platform
import TestSupport
import Testing

struct VocabularyTests {
  @Test func isSortedByDescendingCountAndBytes() throws {
    let vocabulary = try Vocabulary(counts: [
      ("b", 2), ("a", 2), ("é", 2), ("B", 2), ("often", 9), ("<eos>", 3), ("abcdefghj", 2), ("abcdefghi", 2),
    ])
    #expect(
      vocabulary.words == [
        "often", "<eos>", "B", "a", "abcdefghi", "abcdefghj", "b", "é", "<unk>",
      ])
  }

  @Test func sizeCountsTheSpecialWords() throws {
    let counts = [("a", 5), ("b", 4), ("c", 3), ("<eos>", 1)]
    let vocabulary = try Vocabulary(counts: counts, selection: .init(size: 4))
    #expect(vocabulary.words == ["a", "b", "<unk>", "<eos>"])
    #expect(vocabulary.id(of: "c") == vocabulary.unknownID)
  }

  @Test func sizeTwoHoldsOnlyTheSpecialWords() throws {
    let vocabulary = try Vocabulary(counts: [("a", 5), ("<eos>", 1)], selection: .init(size: 2))
    #expect(vocabulary.words == ["<unk>", "<eos>"])
  }

  @Test func minCountKeepsTheSpecialWords() throws {
    let counts = [("a", 5), ("b", 2), ("c", 1), ("<eos>", 1)]
    let vocabulary = try Vocabulary(counts: counts, selection: .init(minCount: 2))
    #expect(vocabulary.words == ["a", "b", "<eos>", "<unk>"])
  }

  /// The counts: a 9, b 5, c 4, d 1, <eos> 3, and <unk> as often as it is written and words are left out.
  @Test(
    arguments: [
      (0, .init(), ["a", "b", "c", "<eos>", "d", "<unk>"]),
      (2, .init(), ["a", "b", "c", "<eos>", "<unk>", "d"]),
      (0, .init(minCount: 5), ["a", "<unk>", "b", "<eos>"]),
      (4, .init(minCount: 5), ["<unk>", "a", "b", "<eos>"]),
      (0, .init(size: 3), ["<unk>", "a", "<eos>"]),
      (1, .init(size: 5, minCount: 2), ["a", "b", "c", "<eos>", "<unk>"]),
    ] as [(Int, VocabularySelection, [String])])
  func wordsThatAreLeftOutCountAsUnknown(
    literalCount: Int, selection: VocabularySelection, expected: [String]
  ) throws {
    let counts = [("a", 9), ("b", 5), ("c", 4), ("d", 1), ("<eos>", 3), ("<unk>", literalCount)]
    #expect(try Vocabulary(counts: counts, selection: selection).words == expected)
  }

  @Test func literalUnknownsAreCounted() throws {
    let vocabulary = try Vocabulary(counts: [("a", 5), ("<unk>", 7), ("<eos>", 6)])
    #expect(vocabulary.words == ["<unk>", "<eos>", "a"])
    #expect(vocabulary.unknownID == 0)
    #expect(vocabulary.endOfSentenceID == 1)
  }

  @Test(arguments: [1, 0, -3])
  func refusesASizeWithoutRoomForTheSpecialWords(size: Int) {
    #expect(throws: MilmError.self) { try Vocabulary(counts: [("a", 1)], selection: .init(size: size)) }
  }

  @Test func equivalentSpellingsAreDifferentWords() throws {
    let (composed, decomposed) = ("\u{E9}", "e\u{301}")
    let vocabulary = try Vocabulary(counts: [(composed, 3), (decomposed, 2)])
    #expect(spellings(vocabulary.words) == spellings([composed, decomposed, "<eos>", "<unk>"]))
    #expect(vocabulary.id(of: composed) == 0)
    #expect(vocabulary.id(of: decomposed) == 1)
  }

  @Test func findsEveryWordOfALargeVocabulary() throws {
    let counts = (0..<50_000).map { (String(repeating: "x", count: $0 % 23) + "\($0)", 1) }
    let vocabulary = try Vocabulary(counts: counts)
    #expect(vocabulary.count == 50_002)
    #expect(vocabulary.words.indices.allSatisfy { vocabulary.id(of: vocabulary.word(Int32($0))) == $0 })
    #expect(vocabulary.id(of: "xx") == vocabulary.unknownID)
    #expect(vocabulary.id(of: "") == vocabulary.unknownID)
  }

  @Test func readsWhatItWrote() throws {
    let folder = try TemporaryFolder()
    let vocabulary = try Vocabulary(counts: [("a", 3), ("ein-langes-Wört", 2), ("日本", 1)])
    try vocabulary.write(to: folder.url("vocabulary.txt"))
    let read = try Vocabulary(contentsOf: folder.url("vocabulary.txt"))
    #expect(spellings(read.words) == spellings(vocabulary.words))
    #expect(read.hash == vocabulary.hash)
    #expect(try folder.entries() == ["vocabulary.txt"])
  }

  /// The reference value is that of `xxhsum -H64`.
  @Test func hashIsTheXXH64OfTheFile() throws {
    #expect(try Vocabulary(words: ["<unk>", "<eos>"]).hash == "289c2264a83ba362")
  }

  @Test(
    arguments: [
      ("<unk>\n<eos>\na\nb\na\n", "lines 3 and 5"),
      ("<unk>\n<eos>\n\na\n", "line 3"),
      ("<unk>\n<eos>\na b\n", "line 3"),
      ("<unk>\r\n<eos>\r\n", "line 1"),
      ("<unk>\n<eos>\na\u{B}b\n", "line 3"),
      ("\n<unk>\n<eos>\n", "line 1"),
      ("<unk> <eos>\n\n", "line 1"),
      ("<unk>\n<eos>\n\n", "line 3"),
      ("<unk>\na\n", "<eos>"),
      ("<eos>\na\n", "<unk>"),
      ("<unk>\n<eos>\na", "newline"),
      ("", "no words"),
    ])
  func namesTheInvalidLine(content: String, part: String) throws {
    let folder = try TemporaryFolder()
    let file = try folder.write(content, to: "vocabulary.txt")
    let said = try #require(message { _ = try Vocabulary(contentsOf: file) })
    #expect(said.contains(part))
    #expect(said.contains("vocabulary.txt"))
    #expect(!said.contains("\n"))
  }

  /// A vocabulary is read as it is: of earlier versions, one may begin with a byte-order mark.
  @Test func aMarkIsPartOfAWord() throws {
    let folder = try TemporaryFolder()
    let file = try folder.write("\u{FEFF}the\n<unk>\n<eos>\n", to: "vocabulary.txt")
    let words = try Vocabulary(contentsOf: file).words
    #expect(spellings(words) == spellings(["\u{FEFF}the", "<unk>", "<eos>"]))
  }

  @Test func refusesBytesThatAreNotUTF8() throws {
    let folder = try TemporaryFolder()
    let file = try folder.write(Array("<unk>\n<eos>\n".utf8) + [0xC3, 0x0A], to: "vocabulary.txt")
    let said = try #require(message { _ = try Vocabulary(contentsOf: file) })
    #expect(said.contains("UTF-8") && said.contains("line 3"))
  }

  @Test func namesTheMissingFile() throws {
    let said = try #require(message { _ = try Vocabulary(contentsOf: URL(fileURLWithPath: "/none/v.txt")) })
    #expect(said.contains("/none/v.txt") && said.contains("No such file") && !said.contains("\n"))
  }
}
