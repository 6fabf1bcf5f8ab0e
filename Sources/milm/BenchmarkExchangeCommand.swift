import ArgumentParser
import Checkpoints
import Communication
import Foundation
import Measurement
import Training

/// `milm benchmark exchange`: the compressed all-reduce of real gradients with every codec, against `MPI_Allreduce`.
struct BenchmarkExchangeCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "exchange",
    abstract: "Times the all-reduce of real gradients with every codec, and with MPI_Allreduce.",
    discussion: """
      Trains some steps first, so that the gradients are those of training, then times some with each codec. Rates are \
      in bytes of fp32; seconds are per step, on rank 0, of the fastest step. The error is that of one quantization, \
      without error feedback.

      Examples:
        mpirun --bind-to none -n 2 milm benchmark exchange configs/wikitext-2.yaml --corpus wikitext-2
        mpirun --bind-to none -n 2 milm benchmark exchange configs/wikitext103-multencdec.yaml \
      --set training.lanes=16 --set training.segment=64 --set training.threads=1 --set exchange.ranksPerNode=1
        mpirun --bind-to none -n 2 milm benchmark exchange run/checkpoints/last --corpus wikitext-2 --json
      """)

  @Argument(
    help: .init("A configuration, or a checkpoint or run to start from.", valueName: "CONFIG|RUN"),
    completion: .file(),
    transform: pathArgument)
  var path: String

  @Option(
    help: .init(
      "Read this corpus's training split; required with a checkpoint (default: Zipf-distributed tokens).",
      valueName: "CORPUS"),
    completion: .corpora, transform: pathArgument)
  var corpus: String?

  @OptionGroup var overrides: ConfigurationSettings

  @OptionGroup var vocabulary: AssumedVocabulary

  @Option(help: .init("Steps with each codec; the fastest one counts.", valueName: "N"))
  var steps = 3

  @Option(help: .init("Training steps before.", valueName: "N"))
  var warmup = 3

  @Flag(help: "Print the result as one line of JSON.")
  var json = false

  func validate() throws {
    try requireCount(steps, "--steps")
    try requireCount(warmup, "--warmup", atLeast: 0)
    if vocabulary.size < 100 {
      throw ValidationError("--vocabulary-size: expected at least 100, found \(vocabulary.size)")
    }
  }

  func run() throws {
    onRanks { world in
      let ranks = Ranks(world)
      let checkpoint = try ranks.onCoordinator("find the checkpoint") { try findCheckpoint() } ?? nil
      let isResumed =
        try ranks.broadcast(checkpoint != nil)
      let configuration =
        try isResumed
        ? RunConfiguration.shared(fromRank0Checkpoint: checkpoint, settings: overrides.settings, ranks: ranks)
        : RunConfiguration.shared(fromRank0File: path, settings: overrides.settings, ranks: ranks)
      let benchmark = ExchangeBenchmark(
        Benchmark(configuration, corpusPath: corpus, vocabularySize: vocabulary.size, ranks: ranks),
        stepCount: steps, warmupStepCount: warmup)
      let result = try benchmark.run(from: checkpoint, isResumed: isResumed)
      try ranks.control.barrier("benchmark done")
      guard ranks.isCoordinator else { return 0 }
      for line in vocabulary.assumptions(corpus: corpus) { printMessage(line) }
      if json { try printJSON(result) } else { try show(result) }
      return 0
    }
  }

  private func findCheckpoint() throws -> Checkpoint? {
    var isDirectory: ObjCBool = false
    guard FileManager.default.fileExists(atPath: path, isDirectory: &isDirectory), isDirectory.boolValue
    else {
      return nil
    }
    guard corpus != nil else {
      throw ValidationError("expected --corpus with the checkpoint's corpus")
    }
    let isRun = FileManager.default.fileExists(atPath: "\(path)/checkpoints")
    return try Checkpoint.open(isRun ? "\(path)/checkpoints/last" : path)
  }

  private func show(_ result: ExchangeBenchmark.Result) throws {
    var facts =
      "\(result.ranks) ranks on \(result.nodes) nodes, \(result.threads) threads each, \(result.parameters) "
      + "parameters, \(result.tokensPerStep) tokens per step, \(seconds(result.computeSeconds)) s of compute"
    if let latency = result.linkLatencyMicroseconds, let rate = result.linkMegabytesPerSecond {
      facts += String(format: ", link %.0f µs and %.0f MB/s", latency, rate)
    }
    try printResult(facts + "\n")
    let header = [
      "codec", "ratio", "MB sent", "encode GB/s", "decode GB/s", "encode s", "wire s", "decode s",
      "exchange s", "exposed s", "step s", "error",
    ]
    try printMarkdown(
      header,
      result.rows.map { row in
        [
          row.codec, String(format: "%.2f", row.ratio), String(format: "%.1f", Double(row.wireBytes) / 1e6),
          String(format: "%.2f", row.encodeGigabytesPerSecond),
          String(format: "%.2f", row.decodeGigabytesPerSecond), seconds(row.encodeSeconds),
          seconds(row.wireSeconds), seconds(row.decodeSeconds), seconds(row.seconds),
          seconds(row.exposedSeconds), seconds(row.stepSeconds), String(format: "%.3g", row.relativeError),
        ]
      })
  }

  private func seconds(_ value: Double) -> String { String(format: "%.3f", value) }
}
