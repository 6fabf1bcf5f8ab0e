import Corpus
import Foundation
import TestSupport
import Testing

struct SyntheticTextTests {
  /// The empirical entropy of pairs is independent of how the rate was computed.
  @Test(arguments: [1, 9, 77] as [UInt64], [50, 400])
  func entropyRateIsThatOfCountedPairs(seed: UInt64, wordCount: Int) throws {
    let source = SyntheticText(seed: seed, wordCount: wordCount)
    let text = source.text(tokenCount: 400_000, seed: 1)
    let tokens = text.split(separator: "\n").flatMap { (line: Substring) -> [Substring] in
      line.split(separator: " ") + ["\n"]
    }
    var pairs: [[Substring]: Double] = [:]
    var singles: [Substring: Double] = [:]
    for (left, right) in zip(["\n"] + tokens, tokens) {
      pairs[[left, right], default: 0] += 1
      singles[left, default: 0] += 1
    }
    let entropy = pairs.reduce(0) { $0 - $1.value * log($1.value / (singles[$1.key[0]] ?? 1)) }
    #expect(abs(entropy / Double(tokens.count) / source.entropyRate - 1) < 0.01)
    #expect((1.1...1.6).contains(source.entropyRate))
  }

  @Test func sameSeedsGiveTheSameText() {
    let source = SyntheticText(seed: 4)
    #expect(source.text(tokenCount: 500, seed: 1) == SyntheticText(seed: 4).text(tokenCount: 500, seed: 1))
    #expect(source.text(tokenCount: 500, seed: 1) != source.text(tokenCount: 500, seed: 2))
    #expect(source.text(tokenCount: 500, seed: 1) != SyntheticText(seed: 5).text(tokenCount: 500, seed: 1))
  }

  @Test func usesAllItsWordsInLinesOfModerateLength() {
    let source = SyntheticText(seed: 3)
    let lines = source.text(tokenCount: 200_000, seed: 1).split(separator: "\n")
    #expect(Set(lines.flatMap { $0.split(separator: " ").map(String.init) }) == Set(source.words))
    #expect((5...40).contains(200_000 / lines.count))
  }

  @Test func corpusRecordsTheEntropyRate() throws {
    let folder = try TemporaryFolder()
    let source = SyntheticText(seed: 1, wordCount: 100)
    let written = try source.writeCorpus(
      at: folder.url("c"), trainTokenCount: 20_000, validTokenCount: 2_000, testTokenCount: 3_000)
    let corpus = try Corpus(opening: folder.url("c"))
    #expect(corpus.description == written)
    #expect(corpus.description.entropyRate == source.entropyRate)
    #expect(corpus.vocabulary.count == 102)
    for (split, least) in [(Split.train, 20_000), (.valid, 2_000), (.test, 3_000)] {
      let tokens = try corpus.tokens(split)
      #expect((least..<least + 500).contains(tokens.count))
      #expect(tokens.ids.last == corpus.vocabulary.endOfSentenceID)
      #expect(corpus.description.counts(of: split)?.unknownTokens == 0)
    }
    #expect(
      try corpus.tokens(.valid).ids != corpus.tokens(.test).ids.prefix(corpus.tokens(.valid).count).map { $0 }
    )
  }
}
