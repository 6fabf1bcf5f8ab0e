import Foundation
import LanguageModel

/// The result of an evaluation: the object that `--json` prints.
package struct EvaluationSummary: Encodable, Sendable {
  /// The split; nil for another text.
  package let split: String?
  /// The other text; nil for a split.
  package let text: String?
  /// How the text was scored.
  package let method: ScoringMethod
  /// The total, the counts, and the same by token frequency.
  package let score: TextScore
  /// Tokens/s over all ranks.
  package let tokensPerSecond: Double
  /// Ranks that scored.
  package let ranks: Int
  /// Parameters of the model.
  package let parameters: Int
  /// The checkpoint's directory.
  package let checkpoint: String
  /// The checkpoint's step.
  package let step: Int
  /// Why the text may not be what the model reads, each with what to do.
  package let warnings: [String]
  /// Why it is this checkpoint; nil where nobody chose.
  package var checkpointReason: String?

  /// Tokens scored, `<eos>` and `<unk>` included.
  package var tokens: Int { score.tokenCount }
  /// The total negative log-likelihood in nats.
  package var nll: Double { score.nll }
  /// exp(nll / tokens).
  package var perplexity: Double { score.perplexity }
  /// Tokens that are `<unk>`.
  package var unknownTokens: Int { score.unknownTokenCount }
  /// Streams of the text; 1 for windows.
  package var streams: Int {
    if case .streams(let count) = method.reading { return count }
    return 1
  }
  /// Tokens per window; nil for streams.
  package var window: Int? {
    if case .windows(let length) = method.reading { return length }
    return nil
  }

  /// Why the perplexity is not comparable with that of the model alone on one stream; empty where it is.
  package var caveats: [String] {
    var lines: [String] = []
    if streams > 1 { lines.append("\(streams) streams: not comparable with one stream") }
    if let window {
      lines.append("windows of \(window) tokens, zero state before each: not comparable with one stream")
    }
    if let cache = method.cache {
      lines.append(
        "with a neural cache of \(cache.tokenCount) tokens, theta \(cache.theta), lambda \(cache.lambda): "
          + "not the model alone")
    }
    if let dynamic = method.dynamic {
      lines.append(
        "dynamic evaluation, rate \(dynamic.rate) after every \(dynamic.segment) tokens: "
          + "the model learns from what it has scored")
    }
    return lines
  }

  private enum CodingKeys: String, CodingKey {
    case split, text, tokens, nll, perplexity, unknownTokens, streams, window, cache, dynamic
    case caveats = "reservations"
    case warnings, buckets, ranks, tokensPerSecond, parameters, checkpoint, step, checkpointReason
  }

  private enum CacheKeys: CodingKey {
    case words, theta, lambda
  }

  /// Encodes every key, `null` where there is no value.
  package func encode(to encoder: any Encoder) throws {
    var object = encoder.container(keyedBy: CodingKeys.self)
    try object.encode(split, forKey: .split)
    try object.encode(text, forKey: .text)
    try object.encode(tokens, forKey: .tokens)
    try object.encode(nll, forKey: .nll)
    try object.encode(perplexity, forKey: .perplexity)
    try object.encode(unknownTokens, forKey: .unknownTokens)
    try object.encode(streams, forKey: .streams)
    try object.encode(window, forKey: .window)
    try encodeCache(into: &object)
    try object.encode(method.dynamic, forKey: .dynamic)
    try object.encode(caveats, forKey: .caveats)
    try object.encode(warnings, forKey: .warnings)
    try object.encode(score.buckets, forKey: .buckets)
    try object.encode(ranks, forKey: .ranks)
    try object.encode(tokensPerSecond, forKey: .tokensPerSecond)
    try object.encode(parameters, forKey: .parameters)
    try object.encode(checkpoint, forKey: .checkpoint)
    try object.encode(step, forKey: .step)
    try object.encode(checkpointReason, forKey: .checkpointReason)
  }

  private func encodeCache(into object: inout KeyedEncodingContainer<CodingKeys>) throws {
    guard let cache = method.cache else { return try object.encodeNil(forKey: .cache) }
    var nested = object.nestedContainer(keyedBy: CacheKeys.self, forKey: .cache)
    try nested.encode(cache.tokenCount, forKey: .words)
    try nested.encode(cache.theta, forKey: .theta)
    try nested.encode(cache.lambda, forKey: .lambda)
  }
}
