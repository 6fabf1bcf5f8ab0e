import Checkpoints
import Communication
import Corpus
import Foundation
import LanguageModel
import Layers
import Platform
import Tensors

/// Evaluates a checkpoint on a text, alone or on several ranks: rank 0 reads weights and text,
/// every rank scores a share.
public struct EvaluationRun: Sendable {
  /// What is scored.
  public enum Text: Sendable, Equatable {
    /// A split of the corpus.
    case split(Split)
    /// Another text in the same vocabulary.
    case file(String)
  }

  private let checkpoint: Checkpoint?
  private let model: ModelConfiguration
  private let corpus: String?
  private let text: Text
  private let method: ScoringMethod
  private let precision: Precision
  private let threadCount: Int?
  private let tokenLossPath: String?
  private let ranks: Ranks

  /// An evaluation of a checkpoint, which rank 0 alone has, of a model that all ranks know; `corpus` may be nil for
  /// another text than a split.
  ///
  /// Products have operands of `precision` where the engine can, on `threadCount` threads a rank; nil for the cores
  /// that are the rank's. What each token cost is written to `tokenLossPath` where one is given; `method` must then
  /// keep the text's order.
  public init(
    _ checkpoint: Checkpoint?, model: ModelConfiguration, corpus: String?, text: Text,
    method: ScoringMethod = ScoringMethod(), precision: Precision = .float32, threadCount: Int? = nil,
    tokenLossPath: String? = nil, ranks: Ranks
  ) {
    self.checkpoint = checkpoint
    self.model = model
    self.corpus = corpus
    self.text = text
    self.method = method
    self.precision = precision
    self.threadCount = threadCount
    self.tokenLossPath = tokenLossPath
    self.ranks = ranks
  }

  /// Scores the text; all ranks call it, and rank 0 gets the summary, the others nil.
  ///
  /// `progress` hears on rank 0 of tokens done and in all.
  public func evaluate(
    progress: (_ done: Int, _ total: Int) -> Void = { _, _ in }
  ) throws -> EvaluationSummary? {
    let share = try ranks.threadCountOfAShare()
    let engine = ComputeEngine(threadCount: threadCount ?? share, precision: precision)
    let source =
      try ranks.onCoordinator("read the checkpoint and the text") { try checkpoint.map(read) } ?? nil
    let loaded = try LoadedModel(ofRank0: source?.loaded, configuration: model, ranks: ranks)
    let shared = SharedScoring(
      scoring: TextScoring(model: loaded.model, weights: loaded.weights, engine: engine),
      ranks: ranks.control)
    guard let source else {
      try shared.serve()
      return nil
    }
    return try summary(source, shared, progress: progress)
  }

  private func summary(
    _ source: Source, _ shared: SharedScoring, progress: (_ done: Int, _ total: Int) -> Void
  ) throws -> EvaluationSummary {
    let clock = ContinuousClock()
    let start = clock.now
    let score = try shared.score(
      source.tokens, method: method, specialWords: source.special,
      onToken: { try source.lossFile?.append($0, nll: $1) },
      progress: { progress($0, source.tokens.count) })
    let seconds = (clock.now - start).inSeconds
    guard score.nll.isFinite else {
      throw MilmError(
        "\(source.checkpoint.path): the likelihoods are not finite: expected a model that has not diverged"
          + (method.dynamic == nil ? "" : ", or a smaller rate of dynamic evaluation"))
    }
    try source.lossFile?.finish()
    return EvaluationSummary(
      split: splitName, text: textPath, method: method, score: score,
      tokensPerSecond: Double(score.tokenCount) / seconds, ranks: ranks.rankCount,
      parameters: source.loaded.model.parameters.parameterCount, checkpoint: source.checkpoint.path,
      step: source.checkpoint.state.step)
  }

  private var splitName: String? {
    if case .split(let split) = text { return split.rawValue }
    return nil
  }

  private var textPath: String? {
    if case .file(let path) = text { return path }
    return nil
  }

  /// What rank 0 has read.
  private struct Source {
    let checkpoint: Checkpoint
    let loaded: LoadedModel
    let tokens: any TokenSequence
    let special: SpecialWords
    let lossFile: TokenLossFile?
  }

  private func read(_ checkpoint: Checkpoint) throws -> Source {
    try method.check(rankCount: ranks.rankCount, precision: precision, listsTokens: tokenLossPath != nil)
    try checkpoint.verify()
    let tokens: any TokenSequence
    let vocabulary: Vocabulary
    switch (text, corpus) {
    case (.split(let split), let corpus?):
      let opened = try Corpus(opening: URL(filePath: corpus))
      vocabulary = opened.vocabulary
      try require(vocabulary, of: checkpoint, from: corpus)
      tokens = try opened.tokens(split)
    case (.split, nil):
      throw MilmError("expected a corpus to take the split from")
    case (.file(let file), _):
      vocabulary = try checkpoint.vocabulary(corpus: corpus)
      tokens = try vocabulary.encode(
        contentsOf: URL(filePath: file), tokenizing: checkpoint.state.isTokenized
      ).tokens
    }
    guard tokens.count > 0 else { throw MilmError("expected a text with words, found an empty one") }
    if case .streams(let count) = method.reading, tokens.count < count {
      throw MilmError("expected a token for each of \(count) streams, found \(tokens.count)")
    }
    return Source(
      checkpoint: checkpoint, loaded: try LoadedModel(checkpoint, configuration: model), tokens: tokens,
      special: SpecialWords(vocabulary),
      lossFile: try tokenLossPath.map { try TokenLossFile(path: $0, vocabulary: vocabulary) })
  }

  private func require(_ vocabulary: Vocabulary, of checkpoint: Checkpoint, from corpus: String) throws {
    guard vocabulary.hash == checkpoint.state.vocabularyHash else {
      throw MilmError(
        "\(corpus) has another vocabulary than \(checkpoint.path): expected hash "
          + "\(checkpoint.state.vocabularyHash), found \(vocabulary.hash)")
    }
  }
}
