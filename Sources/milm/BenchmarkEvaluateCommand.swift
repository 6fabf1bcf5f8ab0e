import ArgumentParser
import Measurement

/// `milm benchmark evaluate`: scoring, forward alone.
struct BenchmarkEvaluateCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "evaluate",
    abstract: "Times scoring: forward passes with all losses.",
    discussion: """
      Example:
        milm benchmark evaluate configs/wikitext103-multencdec.yaml --lanes 16 --segment 64
      """)

  @OptionGroup var options: BenchmarkCommand.Options

  @Option(help: "Blocks of lanes × segment tokens to time, after two of warm-up.")
  var steps = 8

  func validate() throws {
    if steps < 1 { throw ValidationError("--steps: expected at least 1, found \(steps)") }
  }

  func run() throws {
    options.measure("benchmark", unit: "blocks") { benchmark, progress in
      try EvaluationBenchmark(benchmark, blockCount: steps).run(progress: progress)
    } show: {
      BenchmarkCommand.Options.show($0)
    }
  }
}
