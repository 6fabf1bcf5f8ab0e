import Corpus
import Foundation

/// How well a model predicts a text.
public struct TextScore: Sendable, Equatable {
  /// The total negative log-likelihood in nats.
  public private(set) var nll = 0.0
  /// How many tokens were predicted, `<eos>` and `<unk>` among them.
  public private(set) var tokenCount = 0
  /// How many of these are `<unk>`.
  public private(set) var unknownTokenCount = 0
  /// The same by how frequent the words are, most frequent first.
  public private(set) var buckets: [FrequencyBucket]
  private let unknown: Int32

  /// A score of nothing yet, in a vocabulary of so many words.
  init(vocabularySize: Int, unknown: Int32) {
    buckets = FrequencyBucket.decades(vocabularySize: vocabularySize)
    self.unknown = unknown
  }

  /// exp(nll / tokens).
  public var perplexity: Double { exp(nll / Double(tokenCount)) }

  /// Counts a token in.
  mutating func add(_ word: Int32, nll: Double) {
    self.nll += nll
    tokenCount += 1
    if word == unknown { unknownTokenCount += 1 }
    var bucket = 0
    while Int(word) >= buckets[bucket].toRank { bucket += 1 }
    buckets[bucket].add(nll)
  }
}

/// The tokens whose words have similar ranks in the vocabulary, where 1 is the training text's most frequent word.
public struct FrequencyBucket: Sendable, Equatable, Encodable {
  /// The first rank.
  public let fromRank: Int
  /// The last rank.
  public let toRank: Int
  /// How many tokens have such words.
  public private(set) var tokens = 0
  /// Their negative log-likelihood in nats.
  public private(set) var nll = 0.0

  /// exp(nll / tokens); nil where there are none.
  public var perplexity: Double? { tokens > 0 ? exp(nll / Double(tokens)) : nil }

  /// Ranks 1 to 10, 11 to 100, 101 to 1,000 and so on.
  static func decades(vocabularySize: Int) -> [FrequencyBucket] {
    var buckets: [FrequencyBucket] = []
    while (buckets.last?.toRank ?? 0) < vocabularySize {
      let last = buckets.last?.toRank ?? 0
      buckets.append(FrequencyBucket(fromRank: last + 1, toRank: min(max(10, last * 10), vocabularySize)))
    }
    return buckets
  }

  private init(fromRank: Int, toRank: Int) {
    self.fromRank = fromRank
    self.toRank = toRank
  }

  mutating func add(_ nll: Double) {
    tokens += 1
    self.nll += nll
  }

  private enum CodingKeys: CodingKey {
    case fromRank, toRank, tokens, nll, perplexity
  }

  /// Encodes every key, `null` for the perplexity of nothing.
  public func encode(to encoder: any Encoder) throws {
    var object = encoder.container(keyedBy: CodingKeys.self)
    try object.encode(fromRank, forKey: .fromRank)
    try object.encode(toRank, forKey: .toRank)
    try object.encode(tokens, forKey: .tokens)
    try object.encode(nll, forKey: .nll)
    try object.encode(perplexity, forKey: .perplexity)
  }
}

/// The two words that scoring treats apart.
public struct SpecialWords: Sendable {
  /// The id of `<eos>`, from which the first word of a stream is predicted.
  public let endOfSentence: Int32
  /// The id of `<unk>`, which is counted.
  public let unknown: Int32

  /// Those of a vocabulary.
  public init(_ vocabulary: Vocabulary) {
    endOfSentence = vocabulary.endOfSentenceID
    unknown = vocabulary.unknownID
  }
}
