import Communication
import Corpus
import Foundation
import Tensors
import Training

/// A configuration and its text, as every benchmark uses them.
package struct Benchmark {
  /// The configuration with the settings of a benchmark.
  package let configuration: RunConfiguration
  let ranks: Ranks
  let corpusPath: String?
  let vocabularySize: Int

  /// A benchmark over a corpus's training split or, without one, over Zipf-distributed tokens of a vocabulary of
  /// `vocabularySize` entries.
  package init(_ configuration: RunConfiguration, corpusPath: String?, vocabularySize: Int, ranks: Ranks) {
    var configuration = configuration
    // Steps alone: no flush, no snapshot, no evaluation.
    configuration.coordinator.checkpointEvery = .max
    configuration.coordinator.evaluateEvery = 0
    configuration.exchange.hashEvery = 0
    self.configuration = configuration
    self.corpusPath = corpusPath
    self.vocabularySize = vocabularySize
    self.ranks = ranks
  }

  /// The text, its identity and the id of `<eos>`.
  ///
  /// Generated text has its table in `arena`.
  func text(tokenCount: Int, in arena: Arena = Arena()) throws -> (
    tokens: any TokenSequence, identity: TextIdentity, endOfSentenceID: Int32
  ) {
    guard let corpusPath else {
      let text = ZipfText(
        count: tokenCount, vocabularySize: vocabularySize, seed: UInt64(configuration.training.seed),
        in: arena)
      let identity = TextIdentity(vocabularySize: vocabularySize, vocabularyHash: "", isTokenized: false)
      return (text, identity, 0)
    }
    let corpus = try Corpus(opening: URL(filePath: corpusPath), verification: .headerOnly)
    return (try corpus.tokens(.train), TextIdentity(corpus), corpus.vocabulary.endOfSentenceID)
  }
}

extension Collection<Double> {
  /// The median; 0 for no values.
  var median: Double {
    let sorted = self.sorted()
    guard !sorted.isEmpty else { return 0 }
    return (sorted[(count - 1) / 2] + sorted[count / 2]) / 2
  }
}

/// Tokens distributed as in natural language: the probability of the token of rank r is proportional to 1 / r (Zipf 1935).
struct ZipfText: TokenSequence {
  let count: Int
  /// The sum of the weights of the tokens up to each.
  private let cumulative: Vector<Double>
  private let key: RandomKey
  private let arena: Arena

  init(count: Int, vocabularySize: Int, seed: UInt64, in arena: Arena = Arena()) {
    self.count = count
    self.arena = arena
    key = RandomKey(seed: seed).derived("zipf")
    cumulative = arena.vector(of: Double.self, count: vocabularySize)
    guard !arena.isCounting else { return }
    var sum = 0.0
    for token in 0..<vocabularySize {
      sum += 1 / Double(token + 1)
      cumulative[token] = sum
    }
  }

  subscript(position: Int) -> Int32 {
    let place = key.uniform(position) * cumulative[cumulative.count - 1]
    var (low, high) = (0, cumulative.count - 1)
    while low < high {
      let middle = (low + high) / 2
      if cumulative[middle] > place { high = middle } else { low = middle + 1 }
    }
    return Int32(low)
  }

  func copy(_ range: Range<Int>, into destination: UnsafeMutableBufferPointer<Int32>) {
    for (index, position) in range.enumerated() { destination[index] = self[position] }
  }
}
