import Communication
import Corpus
import Evaluation
import Foundation
import LanguageModel
import Platform
import TestSupport
import Testing

/// The scores of `milm evaluate`.
@Suite(.timeLimit(.minutes(5))) struct EvaluationTests {
  private static let cached = {
    var method = ScoringMethod()
    method.cache = NeuralCache.Settings(tokenCount: 50, theta: 0.3, lambda: 0.2)
    return method
  }()
  /// One stream and less than ranks, more than ranks; windows side by side, and longer than a block.
  private static let methods =
    [1, 2, 5].map { ScoringMethod(reading: .streams($0)) }
    + [1, 7, 700, 1500].map { ScoringMethod(reading: .windows($0)) } + [cached]

  private let bench: EvaluationBench

  init() throws { bench = try EvaluationBench() }

  private func learning(rate: Double, segment: Int = 16) -> ScoringMethod {
    var method = ScoringMethod()
    method.dynamic = ScoringMethod.Dynamic(rate: rate, segment: segment)
    return method
  }

  @Test(arguments: [2, 3, 4])
  func theScoreIsTheSameOnAnyNumberOfRanks(rankCount: Int) throws {
    for method in Self.methods {
      let alone = try bench.evaluate(method, text: .split(.train))
      let distributed = try bench.evaluate(method, text: .split(.train), rankCount: rankCount)
      #expect(abs(distributed.nll - alone.nll) <= 1e-6 * alone.nll, "\(method)")
      #expect(distributed.tokens == alone.tokens && distributed.unknownTokens == alone.unknownTokens)
      #expect(distributed.score.buckets.map(\.tokens) == alone.score.buckets.map(\.tokens))
    }
  }

  /// One flipped bit of a message of an evaluation ends it with a line that names operation and ranks.
  @Test(arguments: [ScoringMethod(), ScoringMethod(reading: .streams(3))])
  func corruptedMessagesEndAnEvaluation(method: ScoringMethod) throws {
    let listening = Corruption()
    _ = try bench.evaluate(method, rankCount: 2, reception: listening.fault)
    #expect(listening.kinds.contains { $0.name == "score" && !$0.isHeader })
    for kind in listening.kinds {
      let corruption = Corruption(kind)
      let error = #expect(throws: MilmError.self, "\(kind)") {
        try bench.evaluate(method, rankCount: 2, reception: corruption.fault)
      }
      let operation = try #require(corruption.corrupted?.operation, "\(kind)")
      #expect(
        error?.description.contains("message at \(operation) from rank ") == true, "\(kind): \(error as Any)")
    }
  }

  @Test func tokenLossesAreListedInOrder() throws {
    for (index, method) in [ScoringMethod(), ScoringMethod(reading: .windows(9)), Self.cached].enumerated() {
      let path = bench.folder.file("tokens-\(index).tsv")
      let summary = try bench.evaluate(method, tokenLossPath: path, rankCount: 1 + index)
      let lines = try String(contentsOfFile: path, encoding: .utf8).split(separator: "\n")
      #expect(lines[0] == "position\tword\tnll")
      let rows = lines.dropFirst().map { $0.split(separator: "\t", omittingEmptySubsequences: false) }
      let corpus = try Corpus(opening: URL(filePath: bench.corpus))
      let tokens = try ids(.test, of: corpus)
      #expect(rows.count == tokens.count && rows.count == summary.tokens)
      for (position, row) in rows.enumerated() {
        #expect(row.count == 3 && Int(row[0]) == position)
        #expect(row[1] == corpus.vocabulary.word(tokens[position]))
      }
      #expect(rows.reduce(0.0) { $0 + (Double($1[2]) ?? .nan) } == summary.nll)
    }
  }

  @Test func anUnwritableTokenLossFileIsRefusedWithoutRemains() throws {
    let entries = try bench.folder.entries()
    #expect(throws: MilmError.self) {
      try bench.evaluate(tokenLossPath: bench.folder.file("none/tokens.tsv"))
    }
    try FileManager.default.createDirectory(
      atPath: bench.folder.file("taken"), withIntermediateDirectories: false)
    #expect(throws: (any Error).self) {
      try bench.evaluate(tokenLossPath: bench.folder.file("taken"))
    }
    #expect(try bench.folder.entries() == (entries + ["taken"]).sorted())
  }

  @Test func frequencyBucketsAddUpToTheTotal() throws {
    let summary = try bench.evaluate()
    let buckets = summary.score.buckets
    #expect(buckets.map(\.fromRank) == [1, 11] && buckets.map(\.toRank) == [10, 42])
    #expect(buckets.reduce(0) { $0 + $1.tokens } == summary.tokens)
    #expect(abs(buckets.reduce(0) { $0 + $1.nll } - summary.nll) < 1e-9 * summary.nll)
    let corpus = try Corpus(opening: URL(filePath: bench.corpus))
    #expect(try buckets[0].tokens == ids(.test, of: corpus).count { $0 < 10 })
  }

  private func ids(_ split: Split, of corpus: Corpus) throws -> [Int32] {
    let tokens = try corpus.tokens(split)
    var ids = [Int32](repeating: -1, count: tokens.count)
    try ids.withUnsafeMutableBufferPointer { try tokens.copy(0..<tokens.count, into: $0) }
    return ids
  }

  @Test func aWindowIsScoredLikeATextOfItsOwn() throws {
    let words = try Corpus(opening: URL(filePath: bench.corpus)).vocabulary.words.filter {
      !$0.hasPrefix("<")
    }
    let lines = (0..<5).map { line in (0..<6).map { words[(line * 7 + $0 * 5) % words.count] } }
      .map { $0.joined(separator: " ") + "\n" }
    let whole = try bench.folder.write(lines.joined(), to: "whole.txt").path
    let windows = try bench.evaluate(ScoringMethod(reading: .windows(7)), text: .file(whole))
    // Every line has 7 tokens, and its first is predicted from <eos> in the one way as in the other.
    let apart = try lines.enumerated().map { index, line in
      let path = try bench.folder.write(line, to: "line-\(index).txt").path
      return try bench.evaluate(text: .file(path)).nll
    }
    #expect(windows.tokens == 35)
    #expect(abs(windows.nll - apart.reduce(0, +)) < 1e-6 * windows.nll)
    let stream = try bench.evaluate(text: .file(whole))
    #expect(abs(windows.nll - stream.nll) > 1e-4)
    let one = try bench.evaluate(ScoringMethod(reading: .windows(100)), text: .file(whole))
    #expect(one.nll == stream.nll)
  }

  @Test func dynamicEvaluationAtRateZeroIsStaticEvaluation() throws {
    let alone = try bench.evaluate()
    for segment in [1, 16, 700] {
      // Products of one row and of many may differ in their last digits.
      let still = try bench.evaluate(learning(rate: 0, segment: segment))
      #expect(abs(still.nll - alone.nll) < 1e-6 * alone.nll)
    }
    #expect(abs(try bench.evaluate(learning(rate: 0.5)).nll - alone.nll) > 1e-4 * alone.nll)
  }

  @Test func cacheAndDynamicEvaluationPredictRepetitionsBetter() throws {
    let words = try Corpus(opening: URL(filePath: bench.corpus)).vocabulary.words.filter {
      !$0.hasPrefix("<")
    }
    let line = [3, 31, 17, 25, 38, 9].map { words[$0] }.joined(separator: " ") + "\n"
    let text = EvaluationRun.Text.file(
      try bench.folder.write(String(repeating: line, count: 60), to: "repeats.txt").path)
    let alone = try bench.evaluate(text: text).perplexity
    #expect(try bench.evaluate(Self.cached, text: text).perplexity < 0.9 * alone)
    #expect(try bench.evaluate(learning(rate: 0.5), text: text).perplexity < 0.9 * alone)
    var both = learning(rate: 0.5)
    both.cache = Self.cached.cache
    #expect(try bench.evaluate(both, text: text).caveats.count == 2)
  }

  @Test func dynamicEvaluationDoesNotChangeTheCheckpoint() throws {
    let before = try bench.digests()
    _ = try bench.evaluate(learning(rate: 0.5))
    #expect(try bench.digests() == before)
  }

  @Test func contradictoryMethodsAreRefused() throws {
    var twoStreams = Self.cached
    twoStreams.reading = .streams(2)
    var windows = learning(rate: 0.1)
    windows.reading = .windows(5)
    for (method, rankCount) in [(twoStreams, 1), (windows, 1), (learning(rate: 0.1), 2)] {
      #expect(throws: MilmError.self) { try bench.evaluate(method, rankCount: rankCount) }
    }
    let path = bench.folder.file("tokens.tsv")
    #expect(throws: MilmError.self) {
      try bench.evaluate(ScoringMethod(reading: .streams(2)), tokenLossPath: path)
    }
    #expect(throws: MilmError.self) {
      try bench.evaluate(ScoringMethod(reading: .streams(100_000)))
    }
  }
}
