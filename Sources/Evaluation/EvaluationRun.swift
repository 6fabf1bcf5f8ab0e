import Checkpoints
import Communication
import Corpus
import Foundation
import LanguageModel
import Layers
import Platform
import Tensors

/// Evaluates a checkpoint on a text, alone or on several ranks.
///
/// Rank 0 reads checkpoint and text and broadcasts the weights; `TextScorer` does the rest.
package struct EvaluationRun: Sendable {
  /// The text to score.
  package enum Text: Sendable, Equatable {
    /// A split of the corpus.
    case split(Split)
    /// A text file, in the model's vocabulary.
    case file(String)
    /// Standard input, in the model's vocabulary.
    case standardInput
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

  /// An evaluation of a checkpoint of `model`; the checkpoint is nil on all ranks but rank 0.
  ///
  /// `corpus` may be nil for a text file. Products have operands of `precision` where the engine supports it, on
  /// `threadCount` threads per rank (default: the rank's share of the host's cores). The loss of every token is written
  /// to `tokenLossPath` if given; `method` must then keep the text's order.
  package init(
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

  /// Scores the text; called on all ranks.
  ///
  /// Rank 0 gets the summary, the others nil.
  /// `progress` gets the tokens done and their total, on rank 0.
  package func evaluate(
    progress: (_ done: Int, _ total: Int) -> Void = { _, _ in }
  ) throws -> EvaluationSummary? {
    let defaultThreadCount = try ranks.control.hostShare().threadCount
    let engine = try ComputeEngine(threadCount: threadCount ?? defaultThreadCount, precision: precision)
    let source =
      try ranks.onCoordinator("read the checkpoint and the text") { try checkpoint.map(read) } ?? nil
    let loaded = try LoadedModel(ofRank0: source?.loaded, configuration: model, ranks: ranks)
    let scorer = TextScorer(
      model: loaded.model, weights: loaded.weights, engine: engine, ranks: ranks.control)
    guard let source else {
      try scorer.serve()
      return nil
    }
    return try score(source, with: scorer, progress: progress)
  }

  private func score(
    _ source: Source, with scorer: TextScorer, progress: (_ done: Int, _ total: Int) -> Void
  ) throws -> EvaluationSummary {
    let start = ContinuousClock.now
    let score = try scorer.score(
      source.tokens, method: method, specialTokens: source.special,
      onToken: { try source.lossFile?.append($0, nll: $1) },
      progress: { progress($0, source.tokens.count) })
    let seconds = (ContinuousClock.now - start).inSeconds
    guard score.nll.isFinite else {
      throw MilmError(
        "\(source.checkpoint.path): expected finite likelihoods, found \(score.nll): the model has diverged"
          + (method.dynamic == nil ? "" : ", or --dynamic-rate is too large"))
    }
    try source.lossFile?.finish()
    return EvaluationSummary(
      split: splitName, text: textPath, method: method, score: score,
      tokensPerSecond: Double(score.tokenCount) / seconds, ranks: ranks.rankCount,
      parameters: source.loaded.model.parameters.parameterCount, checkpoint: source.checkpoint.path,
      step: source.checkpoint.state.step, warnings: source.warnings)
  }

  private var splitName: String? {
    if case .split(let split) = text { return split.rawValue }
    return nil
  }

  private var textPath: String? {
    switch text {
    case .split: nil
    case .file(let path): path
    case .standardInput: "-"
    }
  }

  /// The inputs that rank 0 has read.
  private struct Source {
    let checkpoint: Checkpoint
    let loaded: LoadedModel
    let tokens: any TokenSequence
    let special: SpecialTokens
    let lossFile: TokenLossFile?
    let warnings: [String]
  }

  /// The text that is not a split.
  private func encoded(in vocabulary: Vocabulary, tokenizing: Bool) throws -> EncodedText {
    guard let textPath, text != .standardInput else {
      return try vocabulary.encodeStandardInput(tokenizing: tokenizing)
    }
    return try vocabulary.encode(contentsOf: URL(filePath: textPath), tokenizing: tokenizing)
  }

  private func read(_ checkpoint: Checkpoint) throws -> Source {
    try method.check(rankCount: ranks.rankCount, precision: precision, listsTokens: tokenLossPath != nil)
    try checkpoint.verify()
    let tokens: any TokenSequence
    let vocabulary: Vocabulary
    var warnings: [String] = []
    switch (text, corpus) {
    case (.split(let split), let corpus?):
      let opened = try Corpus(opening: URL(filePath: corpus))
      vocabulary = opened.vocabulary
      try checkpoint.require(vocabulary, from: corpus)
      tokens = try opened.tokens(split)
    case (.split(let split), nil):
      throw MilmError("expected a corpus with the split \(split.rawValue), found none")
    case (.file, _), (.standardInput, _):
      vocabulary = try checkpoint.vocabulary(corpus: corpus)
      let encoded = try encoded(in: vocabulary, tokenizing: checkpoint.state.isTokenized)
      tokens = encoded.tokens
      warnings = try TextSuspicion(
        encoded, isTokenized: checkpoint.state.isTokenized,
        corpus: corpus.map { try CorpusDescription(readingFrom: URL(filePath: $0)) }
      ).warnings
    }
    guard tokens.count > 0 else {
      throw MilmError("expected a text with tokens, found an empty one")
    }
    if case .streams(let count) = method.reading, tokens.count < count {
      throw MilmError(
        "expected at least a token for each of \(count) streams, found \(tokens.count)")
    }
    return Source(
      checkpoint: checkpoint, loaded: try LoadedModel(checkpoint, configuration: model), tokens: tokens,
      special: SpecialTokens(vocabulary),
      lossFile: try tokenLossPath.map { try TokenLossFile(path: $0, vocabulary: vocabulary) },
      warnings: warnings)
  }
}
