import Checkpoints
import Communication
import Corpus
import Foundation
import LanguageModel
import Layers
import Reporting
import Tensors

/// Evaluates a checkpoint on a text, alone or on several ranks: rank 0 reads the checkpoint,
/// every rank scores a share.
public struct EvaluationRun {
  /// What is scored.
  public enum Text: Sendable, Equatable {
    /// A split of the corpus.
    case split(Split)
    /// Another text in the same vocabulary.
    case file(String)
  }

  /// What an evaluation found: the object that `--json` prints.
  public struct Summary: Encodable, Sendable {
    /// The split; nil for another text.
    public let split: String?
    /// The other text; nil for a split.
    public let text: String?
    /// How many tokens were scored, `<eos>` and `<unk>` among them.
    public let tokens: Int
    /// The total negative log-likelihood in nats.
    public let nll: Double
    /// exp(nll / tokens).
    public let perplexity: Double
    /// How many of the tokens are `<unk>`.
    public let unknownTokens: Int
    /// How many streams the text was cut in.
    public let streams: Int
    /// How fast it went, all ranks together.
    public let tokensPerSecond: Double
    /// How many numbers the model has.
    public let parameters: Int
    /// The checkpoint's directory.
    public let checkpoint: String
    /// The checkpoint's step.
    public let step: Int

    private enum CodingKeys: CodingKey {
      case split, text, tokens, nll, perplexity, unknownTokens
      case streams, tokensPerSecond, parameters, checkpoint, step
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
      try object.encode(tokensPerSecond, forKey: .tokensPerSecond)
      try object.encode(parameters, forKey: .parameters)
      try object.encode(checkpoint, forKey: .checkpoint)
      try object.encode(step, forKey: .step)
    }
  }

  private let path: String
  private let corpus: String?
  private let text: Text
  private let streamCount: Int
  private let precision: Precision
  private let ranks: Ranks

  /// An evaluation of the checkpoint or run at `path`; `corpus` may be nil for another text than a split.
  ///
  /// Products have operands of `precision` where the engine can.
  public init(
    path: String, corpus: String?, text: Text, streamCount: Int, precision: Precision = .float32, ranks: Ranks
  ) {
    self.path = path
    self.corpus = corpus
    self.text = text
    self.streamCount = streamCount
    self.precision = precision
    self.ranks = ranks
  }

  /// Scores the text; all ranks call it and get the same figures.
  ///
  /// `progress` hears of tokens done and in all.
  public func evaluate(progress: (_ done: Int, _ total: Int) -> Void = { _, _ in }) throws -> Summary {
    let engine = ComputeEngine(threadCount: try ranks.threadCountOfAShare(), precision: precision)
    let source = try ranks.onCoordinator("read the checkpoint and the text") { try read() }
    let loaded = try shareModel(source?.loaded)
    let (tokens, special) = try shareTokens(source)

    let clock = ContinuousClock()
    let start = clock.now
    let score = try TextScoring(model: loaded.model, weights: loaded.weights, engine: engine).score(
      tokens, streamCount: streamCount, specialWords: special,
      share: ScoringShare(index: ranks.rank, count: ranks.rankCount)
    ) { progress($0, tokens.count) }
    let nll = try ranks.control.sum("negative log-likelihood", [score.nll])[0]
    let seconds = (clock.now - start).inSeconds
    guard nll.isFinite else {
      throw TrainingError(
        "\(path): the model's likelihoods are not finite: expected a model that has not diverged")
    }
    return Summary(
      split: splitName, text: textPath, tokens: score.tokenCount, nll: nll,
      perplexity: exp(nll / Double(score.tokenCount)), unknownTokens: score.unknownTokenCount,
      streams: streamCount, tokensPerSecond: Double(score.tokenCount) / seconds,
      parameters: loaded.model.parameters.parameterCount, checkpoint: source?.checkpoint.path ?? path,
      step: source?.checkpoint.state.step ?? 0)
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
  }

  private func read() throws -> Source {
    let checkpoint = try Checkpoint.open(path)
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
      throw TrainingError("expected a corpus to take the split from")
    case (.file(let file), _):
      vocabulary = try checkpoint.vocabulary(corpus: corpus)
      tokens = try vocabulary.encode(
        contentsOf: URL(filePath: file), tokenizing: checkpoint.state.isTokenized
      ).tokens
    }
    guard tokens.count > 0 else { throw TrainingError("expected a text with words, found an empty one") }
    guard tokens.count >= streamCount else {
      throw TrainingError("expected a token for each of \(streamCount) streams, found \(tokens.count)")
    }
    return Source(
      checkpoint: checkpoint, loaded: try LoadedModel(checkpoint), tokens: tokens,
      special: SpecialWords(vocabulary))
  }

  private func require(_ vocabulary: Vocabulary, of checkpoint: Checkpoint, from corpus: String) throws {
    guard vocabulary.hash == checkpoint.state.vocabularyHash else {
      throw TrainingError(
        "\(corpus) has another vocabulary than \(checkpoint.path): expected hash "
          + "\(checkpoint.state.vocabularyHash), found \(vocabulary.hash)")
    }
  }

  /// Gives every rank the model of rank 0.
  private func shareModel(_ loaded: LoadedModel?) throws -> LoadedModel {
    let control = ranks.control
    let yaml = try control.broadcast(
      "configuration", Array((loaded?.configuration.yaml ?? "").utf8), from: Ranks.coordinator)
    let size = try control.maximum("vocabulary size", UInt64(loaded?.model.vocabularySize ?? 0))
    let own =
      try loaded
      ?? LoadedModel(
        configuration: RunConfiguration(yaml: String(decoding: yaml, as: UTF8.self), source: "rank 0"),
        vocabularySize: Int(size))
    try control.broadcast("weights", over: own.weights.flat.bytes, from: Ranks.coordinator)
    return own
  }

  /// Gives every rank the tokens of rank 0, which need be on its disk alone.
  private func shareTokens(_ source: Source?) throws -> (any TokenSequence, SpecialWords) {
    let header = [
      UInt64(source?.tokens.count ?? 0), UInt64(source?.special.endOfSentence ?? 0),
      UInt64(source?.special.unknown ?? 0),
    ]
    let shared = try header.map { try ranks.control.maximum("text", $0) }
    let special = SpecialWords(endOfSentence: Int32(shared[1]), unknown: Int32(shared[2]))
    var ids = [Int32](repeating: 0, count: Int(shared[0]))
    try ids.withUnsafeMutableBufferPointer { buffer in
      source?.tokens.copy(0..<buffer.count, into: buffer)
      try ranks.control.broadcast(
        "tokens", over: UnsafeMutableRawBufferPointer(buffer), from: Ranks.coordinator)
    }
    return (TokenArray(ids), special)
  }
}

extension Checkpoint {
  /// The words of the model: those of `corpus`, or of the run that the checkpoint lies in;
  /// throws where they are not the model's.
  public func vocabulary(corpus: String?) throws -> Vocabulary {
    let folder = URL(filePath: path).deletingLastPathComponent().deletingLastPathComponent()
    let file = corpus.map { "\($0)/vocabulary.txt" } ?? RunDirectory(path: folder.path).vocabularyPath
    guard FileManager.default.fileExists(atPath: file) else {
      throw TrainingError("no vocabulary at \(file): expected --corpus with the checkpoint's corpus")
    }
    let vocabulary = try Vocabulary(contentsOf: URL(filePath: file))
    guard vocabulary.hash == state.vocabularyHash else {
      throw TrainingError(
        "\(file) is another vocabulary than that of \(path): expected hash \(state.vocabularyHash), "
          + "found \(vocabulary.hash)")
    }
    return vocabulary
  }
}
