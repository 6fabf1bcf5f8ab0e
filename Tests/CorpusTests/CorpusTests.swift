import Corpus
import Foundation
import Platform
import TestSupport
import Testing

struct CorpusTests {
  private let folder: TemporaryFolder

  init() throws {
    folder = try TemporaryFolder()
    let train = try folder.write("a b a c\nb a\n", to: "train.txt")
    try CorpusBuilder(train: [train], test: [train]).build(at: folder.url("c"))
  }

  @Test func namesTheDirectoryWithoutACorpus() throws {
    let said = try #require(message { _ = try Corpus(opening: folder.url("none")) })
    #expect(
      said
        == "no corpus at \(folder.url("none").path): expected corpus.json in it, found none; milm prepare builds a corpus"
    )
  }

  @Test(arguments: ["vocabulary.txt", "train.tokens", "test.tokens"])
  func namesTheMissingFile(name: String) throws {
    try FileManager.default.removeItem(at: folder.url("c/\(name)"))
    let said = try #require(message { _ = try Corpus(opening: folder.url("c")) })
    #expect(said.contains(name) && !said.contains("\n"))
  }

  @Test func detectsTheVocabularyOfAnotherCorpus() throws {
    try folder.write("a\n<eos>\n<unk>\nb\nd\n", to: "c/vocabulary.txt")
    let said = try #require(message { _ = try Corpus(opening: folder.url("c")) })
    #expect(said.contains("expected a vocabulary with hash"))
  }

  @Test func detectsADifferentVocabularySize() throws {
    let json = try String(contentsOf: folder.url("c/corpus.json"), encoding: .utf8)
    try folder.write(
      json.replacingOccurrences(of: "\"vocabularySize\" : 5", with: "\"vocabularySize\" : 50"),
      to: "c/corpus.json")
    let said = try #require(message { _ = try Corpus(opening: folder.url("c")) })
    #expect(said.contains("expected 50 words") && said.contains("found 5"))
  }

  /// Both are read concurrently; the error does not depend on which fails first.
  @Test func vocabularyErrorsTakePrecedenceOverTokenErrors() throws {
    try folder.write("a\n<eos>\n<unk>\nb\nd\n", to: "c/vocabulary.txt")
    try FileManager.default.removeItem(at: folder.url("c/train.tokens"))
    let said = try #require(message { _ = try Corpus(opening: folder.url("c")) })
    #expect(said.contains("expected a vocabulary with hash"))
  }

  @Test func detectsTokensOfAnotherText() throws {
    let other = try folder.write("a b a c\nb a\na\n", to: "other.txt")
    try CorpusBuilder(train: [other]).build(at: folder.url("d"))
    try FileManager.default.removeItem(at: folder.url("c/train.tokens"))
    try FileManager.default.copyItem(at: folder.url("d/train.tokens"), to: folder.url("c/train.tokens"))
    let said = try #require(message { _ = try Corpus(opening: folder.url("c")) })
    #expect(said.contains("expected 8 tokens") && said.contains("found 10"))
  }

  @Test(
    arguments: [
      ("{", "no JSON"), ("{}", "no formatVersion"), ("{\"formatVersion\": 2}", "found 2"),
      ("{\"formatVersion\": 1}", "no sources"), ("{\"formatVersion\": \"1\"}", "at formatVersion"),
    ])
  func namesTheErrorInTheDescription(json: String, part: String) throws {
    try folder.write(json, to: "c/corpus.json")
    let said = try #require(message { _ = try Corpus(opening: folder.url("c")) })
    #expect(said.contains(part) && said.contains("corpus.json") && !said.contains("\n"), "\(said)")
  }

  @Test func otherRanksMaySkipTheIds() throws {
    var bytes = [UInt8](try Data(contentsOf: folder.url("c/test.tokens")))
    bytes[64] ^= 1
    try folder.write(bytes, to: "c/test.tokens")
    #expect(throws: MilmError.self) { try Corpus(opening: folder.url("c")) }
    #expect(throws: Never.self) { try Corpus(opening: folder.url("c"), verification: .headerOnly) }
  }
}
