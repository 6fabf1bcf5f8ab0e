import ArgumentParser
import Communication
import Foundation
import Measurement
import Reporting
import Training

/// `milm benchmark`: what this machine reaches.
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
      StepCommand.self, ProductsCommand.self, EvaluateCommand.self, BenchmarkExchangeCommand.self,
      BenchmarkFilterCommand.self, BenchmarkPrepareCommand.self,
    ])

  /// What every benchmark of a model takes.
  struct Options: ParsableArguments {
    @Argument(help: "The configuration, a YAML file.", completion: .file(extensions: ["yaml"]))
    var config: String

    @Option(
      help: "Read this corpus's training split; without one, words are drawn by Zipf's law.",
      completion: .directory)
    var corpus: String?

    @Option(help: "How many words the drawn vocabulary has; WikiText-103's number where none is given.")
    var vocabularySize = 267_735

    @Option(help: "Lanes of all ranks, in place of training.lanes.")
    var lanes: Int?

    @Option(help: "Steps in a segment, in place of training.segment.")
    var segment: Int?

    @Option(help: "Compute threads a rank, in place of training.threads.")
    var threads: Int?

    @Option(
      name: .customLong("set"), help: "Set a key of the configuration: key.path=value. May be repeated.")
    var settings: [String] = []

    @Flag(help: "Print the result as one line of JSON.")
    var json = false

    func validate() throws {
      if vocabularySize < 2 {
        throw ValidationError("--vocabulary-size: expected at least 2, found \(vocabularySize)")
      }
    }

    func benchmark(_ ranks: Ranks) throws -> Benchmark {
      let own = [("lanes", lanes), ("segment", segment), ("threads", threads)].compactMap { key, value in
        value.map { "training.\(key)=\($0)" }
      }
      let configuration = try RunConfiguration.shared(
        fromRank0File: config, settings: settings + own, ranks: ranks)
      return Benchmark(configuration, corpusPath: corpus, vocabularySize: vocabularySize, ranks: ranks)
    }

    /// Runs a benchmark with a progress line, and prints what rank 0 has of it.
    func measure<Result: Encodable>(
      _ name: String, unit: String, _ run: (Benchmark, (Int, Int) -> Void) throws -> Result,
      show: (Result) -> Void
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
        if json { try printJSON(result) } else { show(result) }
        return 0
      }
    }
  }
}

extension BenchmarkCommand {
  /// `milm benchmark step`: whole steps of training.
  struct StepCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "step",
      abstract: "Times whole steps of training: forward, backward, exchange, clipping, update.",
      discussion: """
        Example:
          milm benchmark step configs/wikitext103-multencdec.yaml --lanes 16 --segment 64 --threads 2
        """)

    @OptionGroup var options: Options

    @Option(help: "How many steps to time, after three that are not.")
    var steps = 8

    func validate() throws {
      if steps < 1 { throw ValidationError("--steps: expected at least 1, found \(steps)") }
    }

    func run() throws {
      options.measure("benchmark", unit: "steps") { benchmark, progress in
        try StepBenchmark(benchmark, stepCount: steps).run(progress: progress)
      } show: {
        show($0)
      }
    }
  }

  /// `milm benchmark products`: the matrix products of a step, each by itself.
  struct ProductsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "products",
      abstract: "Times the matrix products of a step, each by itself, against OpenBLAS.",
      discussion: """
        Example:
          milm benchmark products configs/wikitext103-multencdec.yaml --lanes 16 --threads 2
        """)

    @OptionGroup var options: Options

    func run() throws {
      options.measure("benchmark", unit: "products") { benchmark, progress in
        try ProductBenchmark(benchmark).run(progress: progress)
      } show: { result in
        printTable(
          [
            (
              "engine", "\(result.engine), \(result.cpuLevel), \(result.precision), \(result.threads) threads"
            ),
            ("peak", "\(figure(result.peakGigaflops)) GFLOP/s"),
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

  /// `milm benchmark evaluate`: scoring, forward alone.
  struct EvaluateCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "evaluate",
      abstract: "Times the scoring of text: forward alone, all losses.",
      discussion: """
        Example:
          milm benchmark evaluate configs/wikitext103-multencdec.yaml --lanes 16 --segment 64
        """)

    @OptionGroup var options: Options

    @Option(help: "How many blocks of lanes × segment words to time, after two that are not.")
    var steps = 8

    func validate() throws {
      if steps < 1 { throw ValidationError("--steps: expected at least 1, found \(steps)") }
    }

    func run() throws {
      options.measure("benchmark", unit: "blocks") { benchmark, progress in
        try EvaluationBenchmark(benchmark, blockCount: steps).run(progress: progress)
      } show: {
        show($0)
      }
    }
  }
}

/// Speed, memory and share of the peak as a table.
private func show(_ speed: ModelSpeed) {
  printTable([
    ("model", "\(speed.parameters) parameters, \(speed.vocabulary) words"),
    ("shape", "\(speed.lanes) lanes × \(speed.segment) steps"),
    ("engine", "\(speed.engine), \(speed.cpuLevel), \(speed.precision)"),
    ("ranks × threads", "\(speed.ranks) × \(speed.threads)"),
    ("tokens a second", figure(speed.tokensPerSecond)),
    ("seconds a step", figure(speed.secondsPerStep)),
    ("peak memory", "\(figure(speed.peakMegabytes)) MB a rank"),
    ("of the peak", "\(figure(100 * speed.peakShare)) % of \(figure(speed.peakGigaflops)) GFLOP/s"),
  ])
}

/// Three digits that count, or all before the point.
private func figure(_ value: Double) -> String {
  String(format: value >= 100 ? "%.0f" : value >= 1 ? "%.3g" : "%.3f", value)
}
