import ArgumentParser
import Communication
import Corpus
import Foundation
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

      Examples:
        milm evaluate run --corpus corpus
        milm evaluate run/checkpoints/last --corpus corpus --split valid --json
        milm evaluate run --text letter.txt
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
  var streams = 1

  @Option(help: "What operands of products are rounded to: float32, or bfloat16 for speed.")
  var precision = Precision.float32

  @Flag(help: "Print the result as one line of JSON.")
  var json = false

  func validate() throws {
    if text != nil, split != nil { throw ValidationError("expected either --split or --text, found both") }
    if text == nil, corpus == nil {
      throw ValidationError("expected --corpus with a corpus directory, or --text")
    }
    if streams < 1 { throw ValidationError("--streams: expected at least 1, found \(streams)") }
  }

  func run() throws {
    onRanks { world in
      let ranks = Ranks(world)
      let source = text.map(EvaluationRun.Text.file) ?? .split(split ?? .test)
      let evaluation = EvaluationRun(
        path: path, corpus: corpus, text: source, streamCount: streams, precision: precision,
        ranks: ranks)
      var progress: StageProgress?
      let summary = try evaluation.evaluate { done, total in
        guard ranks.isCoordinator else { return }
        if progress == nil { progress = StageProgress("evaluate", total: total, unit: "tokens") }
        progress?.update(done: done)
      }
      progress?.finish()
      if ranks.isCoordinator { try report(summary) }
      return 0
    }
  }

  private func report(_ summary: EvaluationRun.Summary) throws {
    if json { return try printJSON(summary) }
    var rows = [
      ("checkpoint", "\(summary.checkpoint), step \(summary.step), \(summary.parameters) parameters"),
      ("text", summary.split ?? summary.text ?? ""),
      ("tokens", "\(summary.tokens), of which \(summary.unknownTokens) <unk>"),
      ("perplexity", String(format: "%.4f", summary.perplexity)),
      ("nll", String(format: "%.3f nats", summary.nll)),
      ("speed", "\(Readable.count(summary.tokensPerSecond)) tokens/s"),
    ]
    if summary.streams > 1 {
      rows.append(("streams", "\(summary.streams): not comparable with one stream"))
    }
    printTable(rows)
  }
}

extension Split: ExpressibleByArgument {}

extension Precision: ExpressibleByArgument {}
