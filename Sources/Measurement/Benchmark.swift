import Communication
import Corpus
import Foundation
import Tensors
import Training

/// What the benchmarks have in common: a configuration, its text, and what they measure by.
package struct Benchmark {
  /// The configuration, benchmarks' own settings applied.
  package let configuration: RunConfiguration
  let ranks: Ranks
  let corpusPath: String?
  let vocabularySize: Int

  /// A benchmark over a corpus's training split or, without one, over words drawn by Zipf's law from a vocabulary of
  /// `vocabularySize` words.
  package init(_ configuration: RunConfiguration, corpusPath: String?, vocabularySize: Int, ranks: Ranks) {
    var configuration = configuration
    // Nothing but steps: no flush, no snapshot, no evaluation.
    configuration.coordinator.checkpointEvery = .max
    configuration.coordinator.evaluateEvery = 0
    configuration.exchange.hashEvery = 0
    self.configuration = configuration
    self.corpusPath = corpusPath
    self.vocabularySize = vocabularySize
    self.ranks = ranks
  }

  /// The text that is read, and what a model has to know of it.
  func text(tokenCount: Int) throws -> (
    tokens: any TokenSequence, identity: TextIdentity, endOfSentenceID: Int32
  ) {
    guard let corpusPath else {
      let text = ZipfText(
        count: tokenCount, vocabularySize: vocabularySize, seed: UInt64(configuration.training.seed))
      let identity = TextIdentity(vocabularySize: vocabularySize, vocabularyHash: "", isTokenized: false)
      return (text, identity, 0)
    }
    let corpus = try Corpus(opening: URL(filePath: corpusPath), verification: .headerOnly)
    return (try corpus.tokens(.train), TextIdentity(corpus), corpus.vocabulary.endOfSentenceID)
  }
}

extension Collection<Double> {
  /// The middle of the sorted values; 0 where there are none.
  var median: Double {
    let sorted = self.sorted()
    guard !sorted.isEmpty else { return 0 }
    return (sorted[(count - 1) / 2] + sorted[count / 2]) / 2
  }
}
