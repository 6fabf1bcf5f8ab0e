import ArgumentParser
import Checkpoints
import Communication
import Corpus
import Evaluation
import Foundation
import LanguageModel
import Reporting
import Tensors
import Training

/// `milm evaluate`: the perplexity of a checkpoint.
struct EvaluateCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "evaluate",
    abstract: "Computes a checkpoint's perplexity, alone or under mpirun.",
    discussion: """
      Full softmax, in fp32 unless --precision says otherwise; <eos> and <unk> are scored like any word; the text is one stream whose state is \
      carried from beginning to end, its first word predicted from <eos>. A run means its best checkpoint, \
      or the last where there is no best one yet.

      --streams and --window read the text in another way, --cache and --dynamic add to the model; the output then says \
      that the figure is not comparable with that of the model alone on one stream.

      Examples:
        milm evaluate run --corpus corpus
        milm evaluate run/checkpoints/last --corpus corpus --split valid --json
        milm evaluate run --text letter.txt --per-token letter.tsv
        milm evaluate run --corpus corpus --cache 2000
        mpirun --bind-to none -n 4 milm evaluate run --corpus corpus
      """)

  @Argument(help: "A checkpoint or a run.")
  var path: String

  @Option(help: "The corpus directory.")
  var corpus: String?

  @Option(help: "The split: test, valid or train; test where none is given.")
  var split: Split?

  @Option(help: "Score this text file instead, in the model's vocabulary.")
  var text: String?

  @Option(help: "Cut the text in this many streams; more are faster, but not comparable with one.")
  var streams: Int?

  @Option(
    help: "Cut the text in windows of this many tokens that do not overlap, the state zero before each.")
  var window: Int?

  @Option(help: "Mix in a neural cache of this many words.")
  var cache: Int?

  @Option(help: "How much more the cache counts a like output than an unlike one; 0.02 where none is given.")
  var cacheTheta: Double?

  @Option(help: "The cache's share of the probability, at least 0 and below 1; 0.1 where none is given.")
  var cacheLambda: Double?

  @Flag(help: "Let the model learn from each segment that it has scored; the checkpoint stays as it is.")
  var dynamic = false

  @Option(help: "The learning rate of --dynamic; 0.1 where none is given.")
  var dynamicRate: Double?

  @Option(help: "How many tokens a segment of --dynamic has; 20 where none is given.")
  var dynamicSegment: Int?

  @Option(
    help:
      "Write position, word and negative log-likelihood in nats of every token to this file, divided by tabs."
  )
  var perToken: String?

  @Option(help: "What operands of products are rounded to: float32, or bfloat16 for speed.")
  var precision = Precision.float32

  @Option(help: "Compute threads a rank; those of the cores that are the rank's where none is given.")
  var threads: Int?

  @Flag(help: "Print the result as one line of JSON.")
  var json = false

  func validate() throws {
    if text != nil, split != nil { throw ValidationError("expected either --split or --text, found both") }
    if text == nil, corpus == nil {
      throw ValidationError("expected --corpus with a corpus directory, or --text")
    }
    if let threads, threads < 1 { throw ValidationError("--threads: expected at least 1, found \(threads)") }
    try validateReading()
    try validateAdditions()
  }

  private func validateReading() throws {
    for (name, count) in [("--streams", streams), ("--window", window)] {
      if let count, count < 1 { throw ValidationError("\(name): expected at least 1, found \(count)") }
    }
    if streams != nil, window != nil {
      throw ValidationError("expected either --streams or --window, found both")
    }
    if let streams, streams > 1, perToken != nil {
      throw ValidationError("--per-token: expected one stream, whose order is the text's, found \(streams)")
    }
  }

  private func validateAdditions() throws {
    if cache != nil || dynamic, window != nil || streams ?? 1 > 1 {
      throw ValidationError("--cache and --dynamic: expected one stream, found --streams or --window")
    }
    if let cache, cache < 1 { throw ValidationError("--cache: expected at least 1 word, found \(cache)") }
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
      NeuralCache.Settings(wordCount: $0, theta: cacheTheta ?? 0.02, lambda: cacheLambda ?? 0.1)
    }
    if dynamic {
      method.dynamic = ScoringMethod.Dynamic(rate: dynamicRate ?? 0.1, segment: dynamicSegment ?? 20)
    }
    return method
  }

  func run() throws {
    onRanks { world in
      let source = text.map(EvaluationRun.Text.file) ?? .split(split ?? .test)
      let ranks = Ranks(world)
      let checkpoint = try ranks.onCoordinator("open the checkpoint") { try Checkpoint.open(path) }
      let configuration = try RunConfiguration.shared(fromRank0Checkpoint: checkpoint, ranks: ranks)
      let evaluation = EvaluationRun(
        checkpoint, model: configuration.model, corpus: corpus, text: source, method: method,
        precision: precision, threadCount: threads, tokenLossPath: perToken, ranks: ranks)
      var progress: StageProgress?
      let summary = try evaluation.evaluate { done, total in
        if progress == nil { progress = StageProgress("evaluate", total: total, unit: "tokens") }
        progress?.update(done: done)
      }
      progress?.finish()
      if let summary { try report(summary) }
      return 0
    }
  }

  private func report(_ summary: EvaluationSummary) throws {
    if json { return try printJSON(summary) }
    var rows = [
      ("checkpoint", "\(summary.checkpoint), step \(summary.step), \(summary.parameters) parameters"),
      ("text", summary.split ?? summary.text ?? ""),
      ("tokens", "\(summary.tokens), of which \(summary.unknownTokens) <unk>"),
      ("perplexity", String(format: "%.4f", summary.perplexity)),
      ("nll", String(format: "%.3f nats", summary.nll)),
    ]
    rows += summary.reservations.map { ("note", $0) }
    rows.append(("speed", "\(Readable.count(summary.tokensPerSecond)) tokens/s"))
    if let perToken { rows.append(("tokens' nll", perToken)) }
    printTable(rows)
    print()
    printBuckets(summary)
  }

  private func printBuckets(_ summary: EvaluationSummary) {
    let cells =
      [["rank of the word", "tokens", "share", "perplexity"]]
      + summary.score.buckets.map { bucket in
        [
          "\(bucket.fromRank) to \(bucket.toRank)", "\(bucket.tokens)",
          Readable.percent(Double(bucket.tokens) / Double(summary.tokens)),
          bucket.perplexity.map { String(format: "%.2f", $0) } ?? "",
        ]
      }
    let widths = cells[0].indices.map { column in cells.reduce(0) { max($0, $1[column].count) } }
    for row in cells {
      print(
        zip(row, widths).map { String(repeating: " ", count: $1 - $0.count) + $0 }.joined(separator: "  "))
    }
  }
}

extension Split: ExpressibleByArgument {}

extension Precision: ExpressibleByArgument {}
