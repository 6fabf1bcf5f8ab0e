import ArgumentParser
import Measurement

/// `milm benchmark step`: whole steps of training.
struct BenchmarkStepCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "step",
    abstract: "Times training steps: forward, backward, exchange, clipping, update.",
    discussion: """
      Example:
        milm benchmark step configs/wikitext103-multencdec.yaml --lanes 16 --segment 64 --threads 2
      """)

  @OptionGroup var options: BenchmarkCommand.Options

  @Option(help: "Steps to time, after three of warm-up.")
  var steps = 8

  func validate() throws {
    if steps < 1 { throw ValidationError("--steps: expected at least 1, found \(steps)") }
  }

  func run() throws {
    options.measure("benchmark", unit: "steps") { benchmark, progress in
      try StepBenchmark(benchmark, stepCount: steps).run(progress: progress)
    } show: {
      BenchmarkCommand.Options.show($0)
    }
  }
}
