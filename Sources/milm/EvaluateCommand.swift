import ArgumentParser
import Checkpoints
import Communication
import Corpus
import Evaluation
import Foundation
import LanguageModel
import Platform
import Reporting
import Tensors
import Training

/// `milm evaluate`: the perplexity of a checkpoint.
struct EvaluateCommand: ParsableCommand, AnswersSignals {
  static let configuration = CommandConfiguration(
    commandName: "evaluate",
    abstract: "Computes a checkpoint's perplexity, alone or under mpirun.",
    discussion: """
      Full softmax; <eos> and <unk> are scored like any token. By default the text is one stream whose state is carried \
      from beginning to end; its first token is predicted from <eos>. A run means its best checkpoint, or its newest one \
      where none has been evaluated; the output says which it was and why.

      --lines scores each line alone and prints a row per line, in order, as soon as the line has arrived: negative \
      log-likelihood in nats, tokens (<eos> included) and unknown tokens, tab-separated.

      With --streams, --window, --cache or --dynamic the output says that the perplexity is not comparable with that of \
      the model alone on one stream.

      Examples:
        milm evaluate run --corpus corpus
        milm evaluate run/checkpoints/last --corpus corpus --split valid --json
        milm evaluate run --text letter.txt --per-token letter.tsv
        milm evaluate run --lines candidates.txt > scores.tsv
        milm evaluate run --corpus corpus --cache 2000
        mpirun --bind-to none -n 4 milm evaluate run --corpus corpus
      """)

  @Argument(
    help: .init("A checkpoint or a run.", valueName: "RUN"), completion: .checkpoints, transform: pathArgument
  )
  var path: String

  @Option(
    help: .init("The corpus directory.", valueName: "CORPUS"), completion: .corpora, transform: pathArgument)
  var corpus: String?

  @Option(help: .init("The split: test, valid or train (default: test).", valueName: "test|valid|train"))
  var split: Split?

  @Option(
    help: .init("Score this text file instead of a split; - is standard input.", valueName: "FILE|-"),
    completion: .file(),
    transform: pathArgument)
  var text: String?

  @Option(
    help: .init(
      "Score each line of this file alone, from the zero state; - is standard input.", valueName: "FILE|-"),
    completion: .file(),
    transform: pathArgument)
  var lines: String?

  @Option(help: .init("Text that the model reads before each of the --lines.", valueName: "TEXT"))
  var context: String?

  @Option(
    help: .init("Divide the text into this many streams; more are faster (default: 1).", valueName: "N"))
  var streams: Int?

  @Option(
    help: .init(
      "Divide the text into non-overlapping windows of this many tokens, with zero state before each.",
      valueName: "N"))
  var window: Int?

  @Option(help: .init("Interpolate with a neural cache of this many tokens.", valueName: "N"))
  var cache: Int?

  @Option(help: .init("Cache sharpness θ (default: 0.02).", valueName: "X"))
  var cacheTheta: Double?

  @Option(help: .init("Cache weight λ, at least 0 and below 1 (default: 0.1).", valueName: "X"))
  var cacheLambda: Double?

  @Flag(
    help: "Dynamic evaluation: update the weights after each scored segment; the checkpoint is not changed.")
  var dynamic = false

  @Option(help: .init("Learning rate of --dynamic (default: 0.1).", valueName: "X"))
  var dynamicRate: Double?

  @Option(help: .init("Tokens per segment of --dynamic (default: 20).", valueName: "N"))
  var dynamicSegment: Int?

  @Option(
    help: .init(
      "Write position, token and negative log-likelihood in nats of every token to this file, tab-separated.",
      valueName: "FILE"),
    completion: .file(), transform: pathArgument)
  var perToken: String?

  @Option(
    help: .init(
      "Precision of the operands of matrix products: float32 or bfloat16.", valueName: "float32|bfloat16"))
  var precision = Precision.float32

  @Option(
    help: .init("Compute threads per rank (default: the rank's share of the host's cores).", valueName: "N"))
  var threads: Int?

  @Flag(help: "Print the result as one line of JSON; of --lines one per line.")
  var json = false

  func validate() throws {
    if let threads { try requireCount(threads, "--threads", atMost: 1024) }
    if lines != nil { return try validateLines() }
    if context != nil { throw ValidationError("expected --lines with --context") }
    if text != nil, split != nil { throw ValidationError("expected either --split or --text, found both") }
    if text == nil, corpus == nil {
      throw ValidationError("expected --corpus with a corpus directory, or --text, or --lines")
    }
    try validateReading()
    try validateAdditions()
  }

  private func validateLines() throws {
    guard split == nil, text == nil, streams == nil, window == nil, cache == nil, cacheTheta == nil,
      cacheLambda == nil, !dynamic, dynamicRate == nil, dynamicSegment == nil, perToken == nil
    else {
      throw ValidationError(
        "--lines scores each line alone: expected no --split, --text, --streams, --window, --cache, --dynamic or "
          + "--per-token")
    }
  }

  private func validateReading() throws {
    for (name, count) in [("--streams", streams), ("--window", window)] {
      if let count, count < 1 { throw ValidationError("\(name): expected at least 1, found \(count)") }
    }
    if streams != nil, window != nil {
      throw ValidationError("expected either --streams or --window, found both")
    }
    if let streams, streams > 1, perToken != nil {
      throw ValidationError("--per-token: expected one stream, found \(streams)")
    }
  }

  private func validateAdditions() throws {
    if cache != nil || dynamic, window != nil || streams ?? 1 > 1 {
      throw ValidationError("--cache and --dynamic: expected one stream, found --streams or --window")
    }
    if let cache, !(1...1 << 24).contains(cache) {
      throw ValidationError("--cache: expected 1 to \(1 << 24) tokens, found \(cache)")
    }
    if cache == nil, cacheTheta != nil || cacheLambda != nil {
      throw ValidationError("expected --cache with --cache-theta or --cache-lambda")
    }
    if let cacheTheta, cacheTheta < 0 || !cacheTheta.isFinite {
      throw ValidationError("--cache-theta: expected 0 or more, found \(cacheTheta)")
    }
    if let cacheLambda, !(0..<1).contains(cacheLambda) {
      throw ValidationError("--cache-lambda: expected at least 0 and below 1, found \(cacheLambda)")
    }
    if cache != nil, precision != .float32 {
      throw ValidationError("--cache: expected --precision float32, found \(precision.rawValue)")
    }
    if !dynamic, dynamicRate != nil || dynamicSegment != nil {
      throw ValidationError("expected --dynamic with --dynamic-rate or --dynamic-segment")
    }
    if let dynamicRate, dynamicRate < 0 || !dynamicRate.isFinite {
      throw ValidationError("--dynamic-rate: expected 0 or more, found \(dynamicRate)")
    }
    if let dynamicSegment, !(1...4096).contains(dynamicSegment) {
      throw ValidationError("--dynamic-segment: expected 1 to 4096 tokens, found \(dynamicSegment)")
    }
  }

  private var method: ScoringMethod {
    var method = ScoringMethod(reading: window.map { .windows($0) } ?? .streams(streams ?? 1))
    method.cache = cache.map {
      NeuralCache.Settings(tokenCount: $0, theta: cacheTheta ?? 0.02, lambda: cacheLambda ?? 0.1)
    }
    if dynamic {
      method.dynamic = ScoringMethod.Dynamic(rate: dynamicRate ?? 0.1, segment: dynamicSegment ?? 20)
    }
    return method
  }

  /// Lines that have arrived are scored.
  var answersSignals: Bool { lines != nil }

  func run() throws {
    if let lines { return try score(lines: lines) }
    onRanks { world in
      let file = text.map { $0 == "-" ? EvaluationRun.Text.standardInput : .file($0) }
      let source = file ?? .split(split ?? .test)
      let ranks = Ranks(world)
      let choice = try ranks.onCoordinator("open the checkpoint") { try CheckpointChoice(path) }
      choice?.printWarnings()
      let configuration = try RunConfiguration.shared(fromRank0Checkpoint: choice?.checkpoint, ranks: ranks)
      let evaluation = EvaluationRun(
        choice?.checkpoint, model: configuration.model, corpus: corpus, text: source, method: method,
        precision: precision, threadCount: threads, tokenLossPath: perToken, ranks: ranks)
      var progress: StageProgress?
      let summary = try evaluation.evaluate { done, total in
        if progress == nil {
          progress = StageProgress(
            "evaluate", total: total, unit: "tokens",
            output: .standardError(relayedTo: Launch.relayedTerminal) {})
        }
        progress?.update(done: done)
      }
      progress?.finish()
      if var summary {
        summary.checkpointReason = choice?.reason
        // The result comes first, and what befalls either leaves the other.
        defer { record(summary) }
        try report(summary)
      }
      return 0
    }
  }

  /// Keeps the perplexity of the model alone on a split for `milm compare`, in the run of the checkpoint.
  ///
  /// A reader of a run that may not be written needs no record.
  private func record(_ summary: EvaluationSummary) {
    guard let split = summary.split, summary.caveats.isEmpty else { return }
    let run = RunDirectory(ofCheckpointAt: summary.checkpoint)
    guard DirectoryKind.run.matches(run.path) else { return }
    let line = MetricsLine(
      .evaluation,
      [
        "step": .integer(summary.step), "split": .text(split), "perplexity": .number(summary.perplexity),
        "nll": .number(summary.nll), "tokens": .integer(summary.tokens),
        "seconds": .number(Double(summary.tokens) / summary.tokensPerSecond),
      ])
    do {
      try run.files.append(evaluation: line)
    } catch let error as MilmError where error.code.map([EACCES, EROFS, EPERM].contains) == true {
    } catch {
      printMessage("warning: \(error); milm compare does not know this result")
    }
  }

  /// Scores the lines of a file as they arrive, until the text ends or a signal asks for the end.
  private func score(lines: String) throws {
    let stop = StopRequest()
    _ = try StopSignals.handle(stop)
    onRanks { world in
      let ranks = Ranks(world)
      let choice = try ranks.onCoordinator("open the checkpoint") { try CheckpointChoice(path) }
      choice?.printWarnings()
      let configuration = try RunConfiguration.shared(fromRank0Checkpoint: choice?.checkpoint, ranks: ranks)
      let evaluation = LineEvaluation(
        choice?.checkpoint, model: configuration.model, corpus: corpus, path: lines, context: context ?? "",
        precision: precision, threadCount: threads, ranks: ranks)
      let isInterrupted = try evaluation.run(isStopped: { stop.isMade }, write: write)
      return isInterrupted ? interruptedStatus : 0
    }
  }

  /// Writes a row for each line, all with one call.
  private func write(_ scores: [LineScore]) throws {
    let rows = try scores.map { score in
      json ? try jsonLine(score) : "\(score.nll)\t\(score.tokens)\t\(score.unknownTokens)"
    }
    try StandardStream.output.write(rows.map { $0 + "\n" }.joined())
  }

  private func report(_ summary: EvaluationSummary) throws {
    for warning in summary.warnings { printMessage("warning: \(warning)") }
    if json { return try printJSON(summary) }
    var rows = [
      ("checkpoint", "\(summary.checkpoint), step \(summary.step), \(summary.parameters) parameters"),
      ("chosen", summary.checkpointReason ?? ""),
      ("text", summary.split ?? summary.text ?? ""),
      ("tokens", "\(summary.tokens), of which \(summary.unknownTokens) <unk>"),
      ("perplexity", Readable.decimal(summary.perplexity, 4)),
      ("nll", "\(Readable.decimal(summary.nll, 3)) nats"),
    ]
    rows += summary.caveats.map { ("note", $0) }
    rows.append(("speed", "\(Readable.count(summary.tokensPerSecond)) tokens/s"))
    if let perToken { rows.append(("nll per token", perToken)) }
    try printTable(rows)
    try printResult()
    try printBuckets(summary)
  }

  private func printBuckets(_ summary: EvaluationSummary) throws {
    let cells =
      [["frequency rank", "tokens", "fraction", "perplexity"]]
      + summary.score.buckets.map { bucket in
        [
          "\(bucket.fromRank) to \(bucket.toRank)", "\(bucket.tokens)",
          Readable.precisePercent(Double(bucket.tokens) / Double(summary.tokens)),
          bucket.perplexity.map { Readable.decimal($0, 2) } ?? "",
        ]
      }
    let widths = cells[0].indices.map { column in cells.reduce(0) { max($0, $1[column].count) } }
    for row in cells {
      try printResult(
        zip(row, widths).map { String(repeating: " ", count: $1 - $0.count) + $0 }.joined(separator: "  "))
    }
  }
}

extension CheckpointChoice {
  /// Prints what a reader of the results should know to standard error.
  func printWarnings() {
    for warning in warnings { printMessage("warning: \(warning)") }
  }
}

extension Split: ExpressibleByArgument {}

extension Precision: ExpressibleByArgument {}
