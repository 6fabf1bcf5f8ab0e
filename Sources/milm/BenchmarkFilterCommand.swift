import ArgumentParser
import Checkpoints
import Communication
import Foundation
import Measurement
import Reporting
import Training

/// `milm benchmark filter`: speed and gradient error of `training.softmaxThreshold` on a trained model.
struct BenchmarkFilterCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "filter",
    abstract:
      "Measures speed and gradient error of training.softmaxThreshold on a trained model.",
    discussion: """
      For each threshold it compares the gradient of one step with the exact one, by token frequency, and times whole steps.

      Example:
        milm benchmark filter run --corpus corpus --set training.lanes=16 --set training.segment=64
      """)

  @Argument(
    help: .init("A checkpoint or a run.", valueName: "RUN"), completion: .checkpoints, transform: pathArgument
  )
  var path: String

  @Option(
    help: .init("The corpus of the checkpoint.", valueName: "CORPUS"), completion: .corpora,
    transform: pathArgument)
  var corpus: String

  @Option(
    name: .customLong("threshold"),
    help: .init("A threshold. May be repeated (default: 1e-4, 1e-3, 1e-2).", valueName: "X"))
  var thresholds: [Double] = []

  @OptionGroup var overrides: ConfigurationSettings

  @Option(help: .init("Steps to time with each threshold.", valueName: "N"))
  var steps = 3

  @Flag(help: "Print the result as one line of JSON.")
  var json = false

  func validate() throws {
    try requireCount(steps, "--steps")
    if let wrong = thresholds.first(where: { !($0 > 0 && $0 < 1) }) {
      throw ValidationError("--threshold: expected a probability above 0 and below 1, found \(wrong)")
    }
  }

  func run() throws {
    onRanks { world in
      let ranks = Ranks(world)
      guard ranks.rankCount == 1 else {
        throw ValidationError(
          "expected one rank, found \(ranks.rankCount)")
      }
      let checkpoint = try Checkpoint.open(path)
      let configuration = try RunConfiguration(checkpoint, settings: overrides.settings)
      let benchmark = Benchmark(configuration, corpusPath: corpus, vocabularySize: 2, ranks: ranks)
      var progress: StageProgress?
      let result = try FilterBenchmark(benchmark, checkpoint: checkpoint, stepCount: steps).run(
        thresholds: thresholds.isEmpty ? [1e-4, 1e-3, 1e-2] : thresholds
      ) { done, total in
        if progress == nil { progress = StageProgress("benchmark", total: total, unit: "thresholds") }
        progress?.update(done: done)
      }
      progress?.finish()
      if json { try printJSON(result) } else { try show(result) }
      return 0
    }
  }

  private func show(_ result: FilterBenchmark.Result) throws {
    try printResult(
      "step \(result.step), \(result.lanes) lanes × \(result.segment), \(result.precision), \(result.threads) threads, "
        + String(format: "loss %.3f\n", result.loss))
    try printMarkdown(
      [
        "threshold", "tokens/s", "error of ranks 1 to 1,000", "to 10,000", "to 100,000", "above",
        "other parameters",
      ],
      result.rows.map { row in
        [String(format: "%g", row.threshold), String(format: "%.0f", row.tokensPerSecond)]
          + (row.errorByRank + [row.errorOfOthers]).map { String(format: "%.2g", $0) }
      })
  }
}
