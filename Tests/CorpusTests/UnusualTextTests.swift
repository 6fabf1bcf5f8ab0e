import Corpus
import Foundation
import Platform
import TestSupport
import Testing

/// Texts that are not meant for training, or are unreasonably long.
struct UnusualTextTests {
  private let folder: TemporaryFolder

  init() throws { folder = try TemporaryFolder(inMemory: false) }

  private func remarks(_ texts: URL...) throws -> [String] {
    let said = Said()
    try CorpusBuilder(train: texts).build(at: folder.url("c"), remark: said.add)
    return said.lines
  }

  @Test(arguments: [
    ("a\rb\rc\n", 2), ("a\r\nb\r\n", 0), ("a\r\r\nb\n", 1), ("\ra\n", 1), ("a\n", 0), ("a \r b\r\n\r c", 2),
    ("a\rb\rc", 2), ("a\rb\r", 1),
  ])
  func loneCarriageReturnsAreWhiteSpaceAndReported(text: String, count: Int) throws {
    let said = try remarks(try folder.write(text, to: "text"))
    #expect(said.count == (count > 0 ? 1 : 0))
    #expect(said.allSatisfy { $0.contains("\(count) carriage returns") && $0.contains("text") }, "\(said)")
    let lineCount = text.utf8.count { $0 == 10 } + (text.utf8.last == 10 ? 0 : 1)
    #expect(try Corpus(opening: folder.url("c")).description.counts(of: .train)?.lines == lineCount)
  }

  @Test func loneCarriageReturnsAreCountedEverywhere() throws {
    var bytes = [UInt8](repeating: UInt8(ascii: "a"), count: 4000)
    var expected = 0
    for index in stride(from: 0, to: 3990, by: 31) {
      bytes[index] = 13
      if index % 3 == 0 { bytes[index + 1] = 10 } else { expected += 1 }
    }
    let said = try remarks(try folder.write(bytes, to: "text"))
    #expect(said.first?.contains(": \(expected) carriage returns") == true, "\(said)")
  }

  @Test(arguments: [false, true])
  func refusesMegabytesWithoutWhiteSpaceInBoundedMemory(tokenizing: Bool) throws {
    let file = try folder.write("begins well\n" + String(repeating: "x", count: 6 << 20), to: "endless.txt")
    let options = CorpusBuilder.Options(tokenizing: tokenizing)
    let said = try #require(
      message { try CorpusBuilder(train: [file], options: options).build(at: folder.url("c")) })
    #expect(said.contains("endless.txt") && said.contains("4194304 bytes") && !said.contains("\n"), "\(said)")
    #expect(try folder.entries() == ["endless.txt"])
  }

  /// A hole of a gigabyte in a sparse file, or a tail of zeros.
  @Test(arguments: [1 << 30, 4096], [false, true])
  func refusesZerosAtTheEnd(byteCount: off_t, tokenizing: Bool) throws {
    let well = try folder.write("all is well\n", to: "well.txt")
    let file = try folder.write("begins well\nand then", to: "sparse.txt")
    try #require(truncate(file.path, byteCount) == 0)
    let options = CorpusBuilder.Options(tokenizing: tokenizing)
    let said = message {
      try CorpusBuilder(train: [well, file], options: options).build(at: folder.url("c"))
    }
    #expect(
      said == "expected text in \(file.path), found a NUL byte (zeros to the end, as a power cut may leave) "
        + "in line 2, byte 20")
    #expect(try folder.entries() == ["sparse.txt", "well.txt"])
  }

  /// The blocks in which a long line is read must not change its tokens.
  @Test(arguments: ["word", "Слово", "7"])
  func tokenizesARawLineOfMegabytesAsAWhole(word: String) throws {
    let phrases = [
      "\(word) etc.", "Mr. \(word)", "1,000.5 -. ", "\(word)'s ...", "vs. !", "No. \(word)", "\"\(word)\".",
      "U.S.",
    ]
    var generator = SplitMix64(state: 3)
    var line = ""
    while line.utf8.count < 1_700_000 {
      line += (phrases.randomElement(using: &generator) ?? "") + " "
    }
    let vocabulary = try Vocabulary(
      counts: Set(Tokenizer().tokenize(line).split(separator: " ")).map { (String($0), 1) })
    let whole = try vocabulary.encode(Tokenizer().tokenize(line)).tokens.ids
    let read = try vocabulary.encode(contentsOf: folder.write(line, to: "line"), tokenizing: true)
    #expect(firstDifference(read.tokens.ids, whole) == nil)
    #expect(read.lineCount == 1 && read.unknownTokenCount == 0)
  }

  @Test func readsTrainingTextFromAPipe() throws {
    let pipe = folder.file("pipe")
    try #require(mkfifo(pipe, 0o600) == 0)
    let text = String(repeating: "some words in a line\nand more\n", count: 50_000)
    let writer = Thread {
      let descriptor = open(pipe, O_WRONLY)
      defer { close(descriptor) }
      var rest = Array(text.utf8)[...]
      while !rest.isEmpty {
        let count = rest.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
        if count <= 0 { return }
        rest = rest.dropFirst(count)
      }
    }
    writer.start()
    let described = try CorpusBuilder(train: [URL(filePath: pipe)]).build(at: folder.url("c"))
    #expect(described.counts(of: .train)?.tokens == 450_000)
    #expect(try Corpus(opening: folder.url("c")).vocabulary.count == 9)
  }

  @Test func wordTablesGrow() throws {
    let count = 300_000
    let file = folder.url("words")
    try BuildBenchmark.writeText(wordCount: count, to: file)
    try CorpusBuilder(train: [file]).build(at: folder.url("c"))
    let corpus = try Corpus(opening: folder.url("c"))
    #expect(corpus.vocabulary.count == count + 2)
    let words = try String(contentsOf: file, encoding: .utf8).split(whereSeparator: \.isWhitespace)
    let tokens = try corpus.tokens(.train).ids.filter { $0 != corpus.vocabulary.endOfSentenceID }
    #expect(words.count == 2 * count && tokens.count == words.count)
    #expect(zip(words, tokens).allSatisfy { corpus.vocabulary.word($1) == $0 })
    // All words occur twice, so they are sorted by their bytes.
    let sorted = corpus.vocabulary.words.filter { $0.hasPrefix("w") }
    #expect(sorted.count == count && sorted == sorted.sorted())
  }
}

/// The remarks of a build.
private final class Said: @unchecked Sendable {
  private(set) var lines: [String] = []

  func add(_ line: String) { lines.append(line) }
}
