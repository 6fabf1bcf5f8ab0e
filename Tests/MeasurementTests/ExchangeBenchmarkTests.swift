import Communication
import Measurement
import TestSupport
import Testing
import Training

/// `benchmark exchange` on ranks of this process.
@Suite(.timeLimit(.minutes(3))) struct ExchangeBenchmarkTests {
  /// Four ranks in two groups of two exchange shards too, whose codec and residuals follow those of the rest.
  @Test(arguments: ["replicated", "2", "sharded"], [1, 2])
  func everyCodecIsTimedWhereverTheVocabularyLives(vocabulary: String, ranksPerNode: Int) throws {
    let configuration = try RunConfiguration(
      yaml: """
        model: { variant: lstm, embedding: 12, hidden: 16 }
        training: { lanes: 8, segment: 4, steps: 20, precision: float32, threads: 1 }
        """, source: "the test", settings: ["exchange.vocabulary=\(vocabulary)"])
    let results = try onLocalJob(4, ranksPerNode: ranksPerNode) { ranks in
      let benchmark = Benchmark(configuration, corpusPath: nil, vocabularySize: 2500, ranks: ranks)
      return try ExchangeBenchmark(benchmark, stepCount: 2, warmupStepCount: 1).run(
        from: nil, isResumed: false)
    }
    let rows = results[0].rows
    #expect(rows.prefix(Codec.allCases.count).map(\.codec) == Codec.allCases.map(\.rawValue))
    // With one group the rows of the vocabulary never leave their owner.
    let bytes = rows.prefix(Codec.allCases.count).map(\.wireBytes)
    #expect(bytes.allSatisfy { $0 > 0 } && bytes[0] > 0, "\(bytes)")
    let int8 = try #require(Codec.allCases.firstIndex(of: .int8))
    #expect(bytes[int8] < bytes[0], "\(bytes)")
    if vocabulary == "2" {
      // Beside what the group sends within itself, the means of 2,500 × 12 elements shrink to a quarter.
      #expect(bytes[0] - bytes[int8] > 2500 * 12, "\(bytes)")
    }
  }
}
