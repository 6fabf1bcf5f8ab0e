import Corpus
import Foundation
import TestSupport
import Testing

struct CorpusBuilderTests {
  private let folder: TemporaryFolder
  private let text = "the cat saw the dog\n\nthe dog ran\n"

  init() throws { folder = try TemporaryFolder(inMemory: false) }

  private func entries() throws -> [String] {
    try folder.entries().filter { !$0.hasSuffix(".txt") && !$0.hasSuffix(".zst") }
  }

  @Test func buildsVocabularyAndTokensOfTheTexts() throws {
    let train = try folder.write(text, to: "train.txt")
    let valid = try folder.write("the bird ran", to: "valid.txt")
    let written = try CorpusBuilder(train: [train], valid: [valid]).build(at: folder.url("c"))
    #expect(try folder.entries("c") == ["corpus.json", "train.tokens", "valid.tokens", "vocabulary.txt"])
    let corpus = try Corpus(opening: folder.url("c"))
    #expect(corpus.description == written)
    #expect(corpus.vocabulary.words == ["<eos>", "the", "dog", "cat", "ran", "saw", "<unk>"])
    #expect(try corpus.tokens(.train).ids == [1, 3, 5, 1, 2, 0, 0, 1, 2, 4, 0])
    #expect(try corpus.tokens(.valid).ids == [1, 6, 4, 0])
    let counts = try #require(written.counts(of: .valid))
    #expect(counts.lines == 1 && counts.tokens == 4 && counts.unknownTokens == 1)
    #expect(written.counts(of: .train)?.lines == 3)
    #expect(written.vocabularySize == 7 && !written.tokenized && written.entropyRate == nil)
    #expect(written.sources.map(\.path) == [train.path, valid.path])
    let said = try #require(message { _ = try corpus.tokens(.test) })
    #expect(said.contains("test split") && said.contains("train, valid"))
  }

  @Test func removesLeftoversOfKilledProcesses() throws {
    let train = try folder.write(text, to: "train.txt")
    for name in [".c.dead.tmp", ".c.busy.tmp", ".other.dead.tmp"] {
      try FileManager.default.createDirectory(at: folder.url(name), withIntermediateDirectories: false)
      try folder.write("half", to: "\(name)/train.tokens")
    }
    let busy = open(folder.file(".c.busy.tmp"), O_RDONLY)
    defer { close(busy) }
    try #require(flock(busy, LOCK_EX) == 0)
    _ = try CorpusBuilder(train: [train]).build(at: folder.url("c"))
    #expect(try entries() == [".c.busy.tmp", ".other.dead.tmp", "c"])
  }

  /// The reference values are those of `sha256sum`.
  @Test func recordsSourcesWithTheirHashes() throws {
    let train = try folder.write("abc", to: "train.txt")
    let described = try CorpusBuilder(train: [train]).build(at: folder.url("c"))
    #expect(
      described.sources[0].sha256 == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
  }

  @Test func concatenatesTheFilesOfASplit() throws {
    let first = try folder.write("a b", to: "1.txt")
    let second = try folder.write("b b\n", to: "2.txt")
    let described = try CorpusBuilder(train: [first, second]).build(at: folder.url("c"))
    let corpus = try Corpus(opening: folder.url("c"))
    #expect(corpus.vocabulary.words == ["b", "<eos>", "a", "<unk>"])
    #expect(try corpus.tokens(.train).ids == [2, 0, 1, 0, 0, 1])
    #expect(described.sources.count == 2)
  }

  @Test func wordsBeyondTheVocabularyLimitsAreUnknown() throws {
    let train = try folder.write("a a a b b c <unk>\n", to: "train.txt")
    let options = CorpusBuilder.Options(vocabulary: .init(size: 4))
    let described = try CorpusBuilder(train: [train], options: options).build(at: folder.url("c"))
    #expect(try Corpus(opening: folder.url("c")).vocabulary.words == ["a", "<unk>", "b", "<eos>"])
    #expect(described.counts(of: .train)?.unknownTokens == 2)
  }

  @Test func rawTextIsTokenized() throws {
    let train = try folder.write("A role-playing game, isn't it?\n", to: "train.txt")
    let options = CorpusBuilder.Options(tokenizing: true)
    let described = try CorpusBuilder(train: [train], options: options).build(at: folder.url("c"))
    let corpus = try Corpus(opening: folder.url("c"))
    let words = try corpus.tokens(.train).ids.map(corpus.vocabulary.word)
    #expect(words == ["A", "role", "@-@", "playing", "game", ",", "isn", "'t", "it", "?", "<eos>"])
    #expect(described.tokenized)
  }

  @Test(arguments: [false, true])
  func resultIsIndependentOfTheThreadCount(tokenizing: Bool) throws {
    let lines = (0..<200_000).map { "word\($0 * 7919 % 5003) w\($0 % 97), it's 1,\($0 % 1000)" }
    let train = try folder.write(lines.joined(separator: "\n"), to: "train.txt")
    for threads in [1, 2, 5] {
      let options = CorpusBuilder.Options(tokenizing: tokenizing, threadCount: threads)
      try CorpusBuilder(train: [train], options: options).build(at: folder.url("c\(threads)"))
    }
    for name in ["corpus.json", "vocabulary.txt", "train.tokens"] {
      let alone = try Data(contentsOf: folder.url("c1/\(name)"))
      #expect(try firstDifference(Data(contentsOf: folder.url("c2/\(name)")), alone) == nil)
      #expect(try firstDifference(Data(contentsOf: folder.url("c5/\(name)")), alone) == nil)
    }
  }

  @Test func readsCompressedFiles() throws {
    let plain = try folder.write(text, to: "train.txt")
    let packed = try folder.write(Zstandard.compress(Array(text.utf8)), to: "train.txt.zst")
    try CorpusBuilder(train: [plain]).build(at: folder.url("c1"))
    try CorpusBuilder(train: [packed]).build(at: folder.url("c2"))
    for name in ["vocabulary.txt", "train.tokens"] {
      #expect(try Data(contentsOf: folder.url("c1/\(name)")) == Data(contentsOf: folder.url("c2/\(name)")))
    }
  }

  @Test func refusesCorruptedCompressedFiles() throws {
    let whole = Zstandard.compress(Array(String(repeating: text, count: 50).utf8))
    for corrupted in [Array(whole.dropLast()), Array(whole.dropFirst()), Array(whole.prefix(5)), whole + [7]]
    {
      let packed = try folder.write(corrupted, to: "train.txt.zst")
      let said = try #require(message { try CorpusBuilder(train: [packed]).build(at: folder.url("c")) })
      #expect(said.contains("train.txt.zst") && said.contains("zstd") && !said.contains("\n"), "\(said)")
      #expect(try entries() == [])
    }
  }

  @Test func concatenatesZstdFrames() throws {
    let halves = [Zstandard.compress(Array("a b".utf8)), Zstandard.compress(Array("c d\n".utf8))]
    let packed = try folder.write(halves[0] + halves[1], to: "train.txt.zst")
    try CorpusBuilder(train: [packed]).build(at: folder.url("c"))
    #expect(try Corpus(opening: folder.url("c")).vocabulary.words == ["<eos>", "a", "bc", "d", "<unk>"])
  }

  @Test(
    arguments: [
      ("", "expected words"), (" \n\n", "expected words"), ("a \u{FFFD}", nil), ("a\n", nil),
    ] as [(String, String?)])
  func refusesTrainingTextWithoutWords(text: String, part: String?) throws {
    let train = try folder.write(text, to: "train.txt")
    let said = message { try CorpusBuilder(train: [train]).build(at: folder.url("c")) }
    if let part { #expect(said?.contains(part) == true) } else { #expect(said == nil) }
    #expect(try entries() == (part == nil ? ["c"] : []))
  }

  @Test func refusesAnEmptyTestText() throws {
    let train = try folder.write(text, to: "train.txt")
    let empty = try folder.write("", to: "test.txt")
    let said = message { try CorpusBuilder(train: [train], test: [empty]).build(at: folder.url("c")) }
    #expect(said?.contains("test.txt") == true)
    #expect(try entries() == [])
  }

  @Test func missingFilesFailBeforeAnythingIsRead() throws {
    let train = try folder.write(text, to: "train.txt")
    var isRead = false
    let said = try #require(
      message {
        try CorpusBuilder(train: [train], valid: [folder.url("none.txt")]).build(at: folder.url("c")) { _ in
          isRead = true
        }
      })
    #expect(said.contains("none.txt") && said.contains("No such file") && !said.contains("\n"))
    #expect(!isRead)
    #expect(try entries() == [])
  }

  @Test func anInterruptedBuildLeavesNothing() throws {
    struct Stop: Error {}
    let train = try folder.write(String(repeating: text, count: 100_000), to: "train.txt")
    for phase in [CorpusBuilder.Progress.Phase.counting, .encoding(.train)] {
      #expect(throws: Stop.self) {
        try CorpusBuilder(train: [train]).build(at: folder.url("c")) { if $0.phase == phase { throw Stop() } }
      }
      #expect(try entries() == [])
    }
  }

  @Test func invalidTextLeavesAnEarlierCorpusUnchanged() throws {
    let train = try folder.write(text, to: "train.txt")
    try CorpusBuilder(train: [train]).build(at: folder.url("c"))
    let invalid = try folder.write([0x61, 0x20, 0xC0, 0x0A], to: "invalid.txt")
    let said = message { try CorpusBuilder(train: [train], valid: [invalid]).build(at: folder.url("c")) }
    #expect(said?.contains("invalid.txt") == true && said?.contains("line 1, byte 2") == true)
    #expect(try entries() == ["c"])
    #expect(try Corpus(opening: folder.url("c")).tokens(.train).count == 11)
  }

  @Test func replacesACorpusThatIsInUse() throws {
    let train = try folder.write(text, to: "train.txt")
    try CorpusBuilder(train: [train], test: [train]).build(at: folder.url("c"))
    let earlier = try Corpus(opening: folder.url("c"))
    let other = try folder.write("something else\n", to: "other.txt")
    try CorpusBuilder(train: [other]).build(at: folder.url("c"))
    #expect(try folder.entries("c") == ["corpus.json", "train.tokens", "vocabulary.txt"])
    #expect(try Corpus(opening: folder.url("c")).vocabulary.count == 4)
    #expect(try earlier.tokens(.train).ids == [1, 3, 5, 1, 2, 0, 0, 1, 2, 4, 0])
    #expect(try entries() == ["c"])
  }

  @Test func fillsAnEmptyDirectory() throws {
    let train = try folder.write(text, to: "train.txt")
    try FileManager.default.createDirectory(at: folder.url("c"), withIntermediateDirectories: false)
    try CorpusBuilder(train: [train]).build(at: folder.url("c"))
    #expect(try Corpus(opening: folder.url("c")).vocabulary.count == 7)
  }

  @Test func createsParentDirectorys() throws {
    let train = try folder.write(text, to: "train.txt")
    try CorpusBuilder(train: [train]).build(at: folder.url("x/y/c"))
    #expect(try folder.entries("x/y") == ["c"])
  }

  @Test func namesTheDirectoryItCannotWrite() throws {
    let train = try folder.write(text, to: "train.txt")
    let said = try #require(
      message { try CorpusBuilder(train: [train]).build(at: folder.url("train.txt/c")) })
    #expect(said.contains("train.txt/c") && !said.contains("\n"), "\(said)")
  }

  @Test func refusesToReplaceOtherFiles() throws {
    let train = try folder.write(text, to: "train.txt")
    try CorpusBuilder(train: [train]).build(at: folder.url("c"))
    try folder.write("mine", to: "c/notes.txt")
    let said = message { try CorpusBuilder(train: [train]).build(at: folder.url("c")) }
    #expect(said?.contains("notes.txt") == true)
    #expect(try String(contentsOf: folder.url("c/notes.txt"), encoding: .utf8) == "mine")
    let onFile = message { try CorpusBuilder(train: [train]).build(at: train) }
    #expect(onFile?.contains("found a file") == true)
    #expect(try entries() == ["c"])
  }

  @Test func progressEndsAtTheTotal() throws {
    let train = try folder.write(String(repeating: text, count: 100_000), to: "train.txt")
    var last: [CorpusBuilder.Progress] = []
    try CorpusBuilder(train: [train], valid: [train]).build(at: folder.url("c")) { progress in
      if last.last?.phase == progress.phase { last.removeLast() }
      last.append(progress)
    }
    #expect(last.map(\.phase) == [.counting, .encoding(.train), .encoding(.valid)])
    #expect(last.allSatisfy { $0.doneByteCount == $0.totalByteCount && $0.totalByteCount == 3_300_000 })
  }

  static let wikiText2 = ProcessInfo.processInfo.environment["WIKITEXT2"]

  @Test(.enabled(if: wikiText2 != nil, "WIKITEXT2 names no folder")) func countsWikiText2Exactly() throws {
    let source = URL(fileURLWithPath: try #require(Self.wikiText2))
    let files = ["train", "valid", "test"].map { source.appendingPathComponent("wiki.\($0).tokens") }
    let described = try CorpusBuilder(train: [files[0]], valid: [files[1]], test: [files[2]])
      .build(at: folder.url("c"))
    #expect(Split.allCases.map { described.counts(of: $0)?.tokens } == [2_088_628, 217_646, 245_569])
    #expect(Split.allCases.map { described.counts(of: $0)?.lines } == [36_718, 3_760, 4_358])
    #expect(described.vocabularySize == 33_278)
    _ = try Corpus(opening: folder.url("c"))
  }
}
