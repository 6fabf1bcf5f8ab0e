import Foundation
import LanguageModel

/// What an evaluation found: the object that `--json` prints.
public struct EvaluationSummary: Encodable, Sendable {
  /// The split; nil for another text.
  public let split: String?
  /// The other text; nil for a split.
  public let text: String?
  /// How the text was scored.
  public let method: ScoringMethod
  /// The total, the counts, and the same by frequency.
  public let score: TextScore
  /// How fast it went, all ranks together.
  public let tokensPerSecond: Double
  /// How many ranks computed.
  public let ranks: Int
  /// How many numbers the model has.
  public let parameters: Int
  /// The checkpoint's directory.
  public let checkpoint: String
  /// The checkpoint's step.
  public let step: Int

  /// How many tokens were scored, `<eos>` and `<unk>` among them.
  public var tokens: Int { score.tokenCount }
  /// The total negative log-likelihood in nats.
  public var nll: Double { score.nll }
  /// exp(nll / tokens).
  public var perplexity: Double { score.perplexity }
  /// How many of the tokens are `<unk>`.
  public var unknownTokens: Int { score.unknownTokenCount }
  /// How many streams the text was cut in; 1 where it was cut in windows.
  public var streams: Int {
    if case .streams(let count) = method.reading { return count }
    return 1
  }
  /// How many tokens a window has; nil where the text is in streams.
  public var window: Int? {
    if case .windows(let length) = method.reading { return length }
    return nil
  }

  /// What makes the figure another one than that of the model alone on one stream; empty for that one.
  public var reservations: [String] {
    var lines: [String] = []
    if streams > 1 { lines.append("\(streams) streams: not comparable with one stream") }
    if let window {
      lines.append("windows of \(window) tokens, the state zero before each: not comparable with one stream")
    }
    if let cache = method.cache {
      lines.append(
        "with a neural cache of \(cache.wordCount) words, theta \(cache.theta), lambda \(cache.lambda): "
          + "not the model alone")
    }
    if let dynamic = method.dynamic {
      lines.append(
        "dynamic evaluation, rate \(dynamic.rate) after every \(dynamic.segment) tokens: "
          + "the model learns from what it has scored")
    }
    return lines
  }

  private enum CodingKeys: CodingKey {
    case split, text, tokens, nll, perplexity, unknownTokens, streams, window, cache, dynamic, reservations
    case buckets, ranks, tokensPerSecond, parameters, checkpoint, step
  }

  private enum CacheKeys: CodingKey {
    case words, theta, lambda
  }

  /// Encodes every key, `null` where there is nothing: a reader finds the same keys always.
  public func encode(to encoder: any Encoder) throws {
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
    try object.encode(reservations, forKey: .reservations)
    try object.encode(score.buckets, forKey: .buckets)
    try object.encode(ranks, forKey: .ranks)
    try object.encode(tokensPerSecond, forKey: .tokensPerSecond)
    try object.encode(parameters, forKey: .parameters)
    try object.encode(checkpoint, forKey: .checkpoint)
    try object.encode(step, forKey: .step)
  }

  private func encodeCache(into object: inout KeyedEncodingContainer<CodingKeys>) throws {
    guard let cache = method.cache else { return try object.encodeNil(forKey: .cache) }
    var nested = object.nestedContainer(keyedBy: CacheKeys.self, forKey: .cache)
    try nested.encode(cache.wordCount, forKey: .words)
    try nested.encode(cache.theta, forKey: .theta)
    try nested.encode(cache.lambda, forKey: .lambda)
  }
}
