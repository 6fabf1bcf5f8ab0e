import ArgumentParser
import Communication
import Foundation
import Measurement
import Reporting
import Training

/// `milm benchmark`: speed and memory on this machine.
struct BenchmarkCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "benchmark",
    abstract: "Measures speed and memory on this machine.",
    discussion: """
      Examples:
        milm benchmark step configs/wikitext103-multencdec.yaml --lanes 16 --json
        mpirun --bind-to none -n 2 milm benchmark step configs/wikitext103-multencdec.yaml
        milm benchmark products configs/wikitext103-multencdec.yaml
        mpirun -n 2 milm benchmark exchange configs/wikitext-2.yaml --corpus corpus
      """,
    subcommands: [
      BenchmarkStepCommand.self, BenchmarkProductsCommand.self, BenchmarkEvaluateCommand.self,
      BenchmarkExchangeCommand.self, BenchmarkFilterCommand.self, BenchmarkPrepareCommand.self,
    ])

  /// Options of every benchmark of a model.
  struct Options: ParsableArguments {
    @Argument(
      help: .init("The configuration, a YAML file.", valueName: "CONFIG"),
      completion: .file(extensions: ["yaml"]),
      transform: pathArgument)
    var config: String

    @Option(
      help: .init(
        "Read this corpus's training split (default: Zipf-distributed tokens).", valueName: "CORPUS"),
      completion: .corpora, transform: pathArgument)
    var corpus: String?

    @OptionGroup var vocabulary: AssumedVocabulary

    @Option(help: .init("Lanes over all ranks (default: training.lanes).", valueName: "N"))
    var lanes: Int?

    @Option(help: .init("Tokens per lane in a segment (default: training.segment).", valueName: "N"))
    var segment: Int?

    @Option(help: .init("Compute threads per rank (default: training.threads).", valueName: "N"))
    var threads: Int?

    @OptionGroup var overrides: ConfigurationSettings

    @Flag(help: "Print the result as one line of JSON.")
    var json = false

    func benchmark(_ ranks: Ranks) throws -> Benchmark {
      let own = [("lanes", lanes), ("segment", segment), ("threads", threads)].compactMap { key, value in
        value.map { "training.\(key)=\($0)" }
      }
      let configuration = try RunConfiguration.shared(
        fromRank0File: config, settings: overrides.settings + own, ranks: ranks)
      return Benchmark(configuration, corpusPath: corpus, vocabularySize: vocabulary.size, ranks: ranks)
    }

    /// Runs a benchmark with a progress line, and prints the result of rank 0.
    func measure<Result: Encodable>(
      _ name: String, unit: String, _ run: (Benchmark, (Int, Int) -> Void) throws -> Result,
      show: (Result) throws -> Void
    ) {
      onRanks { world in
        let ranks = Ranks(world)
        var progress: StageProgress?
        let result = try run(try benchmark(ranks)) { done, total in
          guard ranks.isCoordinator else { return }
          if progress == nil { progress = StageProgress(name, total: total, unit: unit) }
          progress?.update(done: done)
        }
        guard ranks.isCoordinator else { return 0 }
        progress?.finish()
        for line in vocabulary.assumptions(corpus: corpus) { printMessage(line) }
        if json { try printJSON(result) } else { try show(result) }
        return 0
      }
    }
  }
}

extension BenchmarkCommand.Options {
  /// Measures what a model reaches.
  fileprivate func measureSpeed(
    unit: String, _ run: (Benchmark, (Int, Int) -> Void) throws -> ModelSpeed
  ) {
    measure("benchmark", unit: unit, run, show: show)
  }

  private func show(_ speed: ModelSpeed) throws {
    try printTable([
      ("model", "\(speed.parameters) parameters, \(speed.vocabulary) words"),
      ("shape", "\(speed.lanes) lanes × \(speed.segment) tokens"),
      ("engine", "\(speed.engine), \(speed.cpuLevel), \(speed.precision)"),
      ("ranks × threads", "\(speed.ranks) × \(speed.threads)"),
      ("tokens/s", figure(speed.tokensPerSecond)),
      ("seconds per step", figure(speed.secondsPerStep)),
      ("peak memory", "\(figure(speed.peakMegabytes)) MB per rank"),
      ("of peak", "\(figure(100 * speed.peakShare)) % of \(figure(speed.peakGigaflops)) GFLOP/s"),
    ])
  }
}

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

  @Option(help: .init("Steps to time, after three of warm-up.", valueName: "N"))
  var steps = 8

  func validate() throws { try requireCount(steps, "--steps") }

  func run() throws {
    options.measureSpeed(unit: "steps") {
      try StepBenchmark($0, stepCount: steps).run(progress: $1)
    }
  }
}

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

  @Option(help: .init("Blocks of lanes × segment tokens to time, after two of warm-up.", valueName: "N"))
  var steps = 8

  func validate() throws { try requireCount(steps, "--steps") }

  func run() throws {
    options.measureSpeed(unit: "blocks") {
      try EvaluationBenchmark($0, blockCount: steps).run(progress: $1)
    }
  }
}

/// `milm benchmark products`: the matrix products of a step, each by itself.
struct BenchmarkProductsCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "products",
    abstract: "Times the matrix products of a step, each by itself, against OpenBLAS.",
    discussion: """
      Example:
        milm benchmark products configs/wikitext103-multencdec.yaml --lanes 16 --threads 2
      """)

  @OptionGroup var options: BenchmarkCommand.Options

  func run() throws {
    options.measure("benchmark", unit: "products") { benchmark, progress in
      try ProductBenchmark(benchmark).run(progress: progress)
    } show: { result in
      let engine = "\(result.engine), \(result.cpuLevel), \(result.precision), \(result.threads) threads"
      try printTable(
        [
          ("engine", engine), ("peak", "\(figure(result.peakGigaflops)) GFLOP/s"),
          ("product", "GFLOP/s (OpenBLAS fp32)"),
        ]
          + result.products.map { product in
            (
              "\(product.name), \(product.rows) × \(product.columns) × \(product.depth)",
              "\(figure(product.gigaflops)) (\(figure(product.openBLASGigaflops)))"
            )
          })
    }
  }
}

/// Throws unless the number that an option gives is in a range (default: steps that a benchmark can take).
func requireCount(_ count: Int, _ option: String, atLeast least: Int = 1, atMost most: Int = 1 << 20) throws {
  guard (least...most).contains(count) else {
    throw ValidationError("\(option): expected \(least) to \(most), found \(count)")
  }
}
