import Corpus
import Foundation
import LanguageModel
import Layers
import Tensors

/// How well a model predicts a text.
public struct TextScore: Sendable, Equatable {
  /// The total negative log-likelihood in nats.
  public var nll: Double
  /// How many tokens were predicted, `<eos>` and `<unk>` among them.
  public var tokenCount: Int
  /// How many of these are `<unk>`.
  public var unknownTokenCount: Int

  /// exp(nll / tokens).
  public var perplexity: Double { exp(nll / Double(tokenCount)) }
}

/// The two words that scoring treats apart.
public struct SpecialWords: Sendable {
  /// The id of `<eos>`, from which the first word of a stream is predicted.
  public let endOfSentence: Int32
  /// The id of `<unk>`, which is counted.
  public let unknown: Int32

  /// Those of a vocabulary.
  public init(_ vocabulary: Vocabulary) {
    self.init(endOfSentence: vocabulary.endOfSentenceID, unknown: vocabulary.unknownID)
  }

  init(endOfSentence: Int32, unknown: Int32) {
    self.endOfSentence = endOfSentence
    self.unknown = unknown
  }
}

/// A share of the work of scoring: ranks run the recurrence over the whole text
/// and score a part of each block.
public struct ScoringShare: Sendable {
  /// The number of the share.
  public let index: Int
  /// How many shares there are.
  public let count: Int

  /// Share `index` of `count`.
  public init(index: Int, count: Int) {
    self.index = index
    self.count = count
  }

  /// All of it.
  public static let whole = ScoringShare(index: 0, count: 1)

  func rows(of count: Int) -> Range<Int> {
    count * index / self.count..<count * (index + 1) / self.count
  }
}

/// Scores texts with one set of weights, full softmax, state carried along each stream from zero.
public struct TextScoring {
  let model: LanguageModel
  let weights: ParameterBuffer
  let engine: ComputeEngine

  /// How many rows a block has at most; fixed, so that a text's score does not depend on who asks.
  private static let rowsPerBlock = 1024

  /// Scores with `weights`.
  public init(model: LanguageModel, weights: ParameterBuffer, engine: ComputeEngine) {
    self.model = model
    self.weights = weights
    self.engine = engine
  }

  /// The score of one share of a text cut in `streamCount` streams;
  /// the shares' likelihoods add up to the whole's.
  ///
  /// `progress` is called with the tokens done so far, and may throw to end it. Throws `CorpusError` where
  /// there is no token for every stream.
  public func score(
    _ tokens: some TokenSequence, streamCount: Int, specialWords: SpecialWords, share: ScoringShare = .whole,
    progress: (Int) throws -> Void = { _ in }
  ) throws -> TextScore {
    let streams = try Streams(
      tokenCount: tokens.count, streamCount: streamCount, endOfSentenceID: specialWords.endOfSentence)
    let stepCount = min(streams.stepCount, max(1, Self.rowsPerBlock / streamCount))
    let scorer = Scorer(
      model, parameters: weights, stepCount: stepCount, streamCount: streamCount, engine: engine)
    let arena = Arena()
    defer { withExtendedLifetime((arena, scorer)) {} }
    engine.prepareThread()
    let inputs = arena.vector(of: Int32.self, count: stepCount * streamCount)
    let targets = arena.vector(of: Int32.self, count: stepCount * streamCount)
    var score = TextScore(nll: 0, tokenCount: tokens.count, unknownTokenCount: 0)
    var doneCount = 0
    for firstStep in stride(from: 0, to: streams.stepCount, by: stepCount) {
      let block = streams.block(firstStep: firstStep, length: stepCount)
      // What a ragged last block does not fill must still be words.
      inputs.fill(specialWords.endOfSentence)
      streams.read(block, from: tokens, inputs: inputs.buffer, targets: targets.buffer)
      let losses = scorer.score(inputs: inputs, targets: targets, rows: share.rows(of: block.tokenCount))
      for index in 0..<losses.count { score.nll += losses[index] }
      for row in 0..<block.tokenCount where targets[row] == specialWords.unknown {
        score.unknownTokenCount += 1
      }
      doneCount += block.tokenCount
      try progress(doneCount)
    }
    return score
  }
}
