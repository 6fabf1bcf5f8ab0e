import Corpus
import Foundation
import Platform

/// The score of a model on a text.
package struct TextScore: Sendable, Equatable {
  /// The total negative log-likelihood in nats.
  package private(set) var nll = 0.0
  /// Tokens predicted, `<eos>` and `<unk>` included.
  package private(set) var tokenCount = 0
  /// Tokens that are `<unk>`.
  package private(set) var unknownTokenCount = 0
  /// The score by token frequency, most frequent first.
  package private(set) var buckets: [FrequencyBucket]
  private let unknown: Int32

  /// An empty score.
  init(vocabularySize: Int, unknown: Int32) {
    buckets = FrequencyBucket.decades(vocabularySize: vocabularySize)
    self.unknown = unknown
  }

  /// exp(nll ÷ tokens), nll in nats.
  package var perplexity: Double { exp(nll / Double(tokenCount)) }

  mutating func add(_ token: Int32, nll: Double) {
    self.nll += nll
    tokenCount += 1
    if token == unknown { unknownTokenCount += 1 }
    var bucket = 0
    while Int(token) >= buckets[bucket].toRank { bucket += 1 }
    buckets[bucket].add(nll)
  }
}

/// The tokens whose frequency rank in the vocabulary is in one decade; rank 1 is the training text's most frequent token.
package struct FrequencyBucket: Sendable, Equatable, Encodable {
  /// The first rank.
  package let fromRank: Int
  /// The last rank.
  package let toRank: Int
  package private(set) var tokens = 0
  /// Their negative log-likelihood in nats.
  package private(set) var nll = 0.0

  /// exp(nll / tokens); nil for an empty bucket.
  package var perplexity: Double? { tokens > 0 ? exp(nll / Double(tokens)) : nil }

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

  /// Encodes every key, `null` for the perplexity of an empty bucket.
  package func encode(to encoder: any Encoder) throws {
    var object = encoder.container(keyedBy: CodingKeys.self)
    try object.encode(fromRank, forKey: .fromRank)
    try object.encode(toRank, forKey: .toRank)
    try object.encode(tokens, forKey: .tokens)
    try object.encode(nll, forKey: .nll)
    try object.encode(perplexity, forKey: .perplexity)
  }
}

/// The vocabulary entries that scoring treats specially.
package struct SpecialTokens: Sendable {
  /// The id of `<eos>`, from which a stream's first token is predicted.
  package let endOfSentence: Int32
  /// The id of `<unk>`, which is counted.
  package let unknown: Int32

  /// Those of a vocabulary.
  package init(_ vocabulary: Vocabulary) {
    endOfSentence = vocabulary.endOfSentenceID
    unknown = vocabulary.unknownID
  }
}

/// A tab-separated table of the loss of every token: a header, then position from 0, token and negative log-likelihood
/// in nats.
///
/// Numbers are written so that reading them gives the same bits; added up in order they are the total. The file
/// appears when it is complete.
final class TokenLossFile {
  private static let bufferByteCount = 1 << 20
  private static let header = "position\tword\tnll\n"

  private let file: AtomicFile
  private let vocabulary: Vocabulary
  private var buffer: [UInt8] = []
  private var position = 0

  /// Begins a table of tokens of `vocabulary` in the file, device or pipe at `path`.
  init(path: String, vocabulary: Vocabulary) throws {
    file = try AtomicFile(output: path, beginning: Self.header)
    self.vocabulary = vocabulary
    buffer.reserveCapacity(Self.bufferByteCount + 1024)
    buffer.append(contentsOf: Self.header.utf8)
  }

  /// Appends the text's next token.
  func append(_ token: Int32, nll: Double) throws {
    buffer.append(contentsOf: "\(position)\t".utf8)
    buffer.append(contentsOf: vocabulary.word(token).utf8)
    buffer.append(contentsOf: "\t\(nll)\n".utf8)
    position += 1
    if buffer.count >= Self.bufferByteCount { try flush() }
  }

  /// Publishes the file.
  func finish() throws {
    try flush()
    try file.finish()
  }

  private func flush() throws {
    try buffer.withUnsafeBytes { try file.append($0) }
    buffer.removeAll(keepingCapacity: true)
  }
}
