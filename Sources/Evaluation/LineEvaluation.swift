import Checkpoints
import Communication
import Corpus
import LanguageModel
import Platform
import Tensors

/// The score of one line: the object that `--json` prints.
package struct LineScore: Encodable, Sendable, Equatable {
  /// The number of the line, from 1.
  package let line: Int
  /// The negative log-likelihood in nats.
  package let nll: Double
  /// Tokens predicted, `<eos>` included.
  package let tokens: Int
  /// Tokens that are `<unk>`.
  package let unknownTokens: Int
}

/// Scores lines one by one as they arrive, alone or on several ranks; rank 0 reads and writes.
///
/// Every line is scored from the same state: zero, or that after a context. What has arrived is scored at once, lines of
/// like length side by side, and written before more is waited for.
package struct LineEvaluation: Sendable {
  private let checkpoint: Checkpoint?
  private let model: ModelConfiguration
  private let corpus: String?
  private let path: String
  private let context: String
  private let precision: Precision
  private let threadCount: Int?
  private let ranks: Ranks

  /// An evaluation of the lines at `path` (`-`: standard input) by a checkpoint, which is nil on all ranks but rank 0.
  ///
  /// The lines of `context` precede each of them.
  package init(
    _ checkpoint: Checkpoint?, model: ModelConfiguration, corpus: String?, path: String, context: String = "",
    precision: Precision = .float32, threadCount: Int? = nil, ranks: Ranks
  ) {
    self.checkpoint = checkpoint
    self.model = model
    self.corpus = corpus
    self.path = path
    self.context = context
    self.precision = precision
    self.threadCount = threadCount
    self.ranks = ranks
  }

  /// The inputs that rank 0 has read.
  private struct Source {
    let loaded: LoadedModel
    let special: SpecialTokens
    let context: [Int32]
    let reader: LineReader
    let encoder: LineEncoder
  }

  /// Scores all lines; called on all ranks.
  ///
  /// Rank 0 calls `write` with the scores of lines in order.
  /// Ends early once rank 0 is stopped, before it reads more lines; returns whether it was, on all ranks.
  package func run(
    isStopped: () -> Bool = { false }, write: ([LineScore]) throws -> Void
  ) throws -> Bool {
    let defaultThreadCount = try ranks.control.hostShare().threadCount
    let engine = try ComputeEngine(threadCount: threadCount ?? defaultThreadCount, precision: precision)
    let source =
      try ranks.onCoordinator("read the checkpoint and the context") { try checkpoint.map(read) } ?? nil
    let loaded = try LoadedModel(ofRank0: source?.loaded, configuration: model, ranks: ranks)
    let endOfSentence = try ranks.control.maximum(
      "id of <eos>", UInt64(source?.special.endOfSentence ?? 0))
    let context = try shared(source.map { EncodedLines(tokens: $0.context, ends: [$0.context.count]) })
    let scorer = LineScorer(
      model: loaded.model, weights: loaded.weights, engine: engine, endOfSentence: Int32(endOfSentence),
      context: context.tokens)
    while true {
      let batch = try ranks.onCoordinator("read the lines") {
        try source?.reader.next(isStopped: isStopped)
      }
      let lines = try shared(batch?.flatMap { batch in source?.encoder.encode(batch) })
      guard lines.count > 0 else { return try ranks.broadcast(isStopped()) }
      let losses = try ranks.control.sum(
        "losses of lines", scorer.score(lines, rank: ranks.rank, rankCount: ranks.rankCount))
      _ = try ranks.onCoordinator("write the scores") {
        guard let source, let firstLine = batch??.firstLine else { return }
        try write(scores(of: lines, losses, firstLine: firstLine, unknown: source.special.unknown))
      }
    }
  }

  private func read(_ checkpoint: Checkpoint) throws -> Source {
    try checkpoint.verify()
    let vocabulary = try checkpoint.vocabulary(corpus: corpus)
    let tokenizing = checkpoint.state.isTokenized
    return Source(
      loaded: try LoadedModel(checkpoint, configuration: model), special: SpecialTokens(vocabulary),
      context: try vocabulary.encode(context, tokenizing: tokenizing).tokens.ids,
      reader: try LineReader(path: path), encoder: LineEncoder(vocabulary, tokenizing: tokenizing))
  }

  /// Rank 0's lines on all ranks; none at the end.
  private func shared(_ own: EncodedLines?) throws -> EncodedLines {
    let ends = own?.ends ?? []
    let numbers = own.map { [Int64(ends.count)] + ends.map(Int64.init) + $0.tokens.map(Int64.init) } ?? []
    let bytes = try ranks.control.broadcast(
      "lines", numbers.withUnsafeBytes { Array($0) }, from: Ranks.coordinator)
    if let own { return own }
    let received = bytes.withUnsafeBytes { bytes in
      (0..<bytes.count / 8).map { Int(bytes.loadUnaligned(fromByteOffset: 8 * $0, as: Int64.self)) }
    }
    guard let count = received.first else { return EncodedLines(tokens: [], ends: []) }
    return EncodedLines(
      tokens: received[(count + 1)...].map(Int32.init), ends: Array(received[1...count]))
  }

  private func scores(
    of lines: EncodedLines, _ losses: [Double], firstLine: Int, unknown: Int32
  ) throws -> [LineScore] {
    try losses.enumerated().map { index, nll in
      guard nll.isFinite else {
        throw MilmError(
          "line \(firstLine + index): expected a finite likelihood, found \(nll): the model has diverged")
      }
      let tokens = lines.tokens[lines.tokenRange(of: index)]
      return LineScore(
        line: firstLine + index, nll: nll, tokens: tokens.count, unknownTokens: tokens.count { $0 == unknown }
      )
    }
  }
}
