import ArgumentParser
import Checkpoints
import Communication
import Corpus
import Foundation
import Training

/// `milm benchmark exchange`: what each codec makes of real gradients, against `MPI_Allreduce`.
struct BenchmarkExchangeCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "exchange",
    abstract: "Sends real gradients with every codec, and with MPI_Allreduce.",
    discussion: """
      Trains some steps, so that the gradients are those of training, and then takes some with each codec. Without \
      a corpus the words are Zipf-distributed, and as many as --vocabulary-size says. Rates are of fp32; seconds \
      are of a step, on rank 0, of the quickest one. The error is that of one rounding, without error feedback.

      Examples:
        mpirun --bind-to none -n 2 milm benchmark exchange configs/wikitext-2.yaml --corpus wikitext-2
        mpirun --bind-to none -n 2 milm benchmark exchange configs/wikitext103-multencdec.yaml \
      --set training.lanes=16 --set training.segment=64 --set training.threads=1 --set exchange.ranksPerNode=1
        mpirun --bind-to none -n 2 milm benchmark exchange run/checkpoints/last --corpus wikitext-2 --json
      """)

  @Argument(help: "A configuration, or a checkpoint or run to begin from.")
  var path: String

  @Option(help: "The corpus directory; needed with a checkpoint.")
  var corpus: String?

  @Option(name: .customLong("set"), help: "Another value for a key of the configuration: key.path=value.")
  var settings: [String] = []

  @Option(help: "How many words there are without a corpus.")
  var vocabularySize = 267_735

  @Option(help: "Steps with each codec, of which the quickest counts.")
  var steps = 3

  @Option(help: "Steps of training before.")
  var warmup = 3

  @Flag(help: "Print the result as one line of JSON.")
  var json = false

  func validate() throws {
    if steps < 1 { throw ValidationError("--steps: expected at least 1, found \(steps)") }
    if warmup < 0 { throw ValidationError("--warmup: expected at least 0, found \(warmup)") }
    if vocabularySize < 100 {
      throw ValidationError("--vocabulary-size: expected at least 100, found \(vocabularySize)")
    }
  }

  func run() throws {
    onRanks { world in
      let ranks = Ranks(world)
      let checkpoint = try ranks.onCoordinator("find the checkpoint") { try findCheckpoint() } ?? nil
      let isResumed =
        try ranks.control.broadcast(
          "from a checkpoint", [checkpoint == nil ? 0 : 1], from: Ranks.coordinator) == [1]
      let configuration = try configuration(ranks, checkpoint)
      let words = try ZipfCorpus(
        given: corpus, vocabularySize: vocabularySize, configuration: configuration, ranks: ranks)
      defer { words.remove() }
      let benchmark = ExchangeBenchmark(
        configuration: configuration, corpus: words.corpus, ranks: ranks, stepCount: steps,
        warmupStepCount: warmup)
      let result = try benchmark.run(from: checkpoint, isResumed: isResumed)
      try ranks.control.barrier("benchmark done")
      guard ranks.isCoordinator else { return 0 }
      if json { try printJSON(result) } else { show(result) }
      return 0
    }
  }

  private func findCheckpoint() throws -> Checkpoint? {
    var isFolder: ObjCBool = false
    guard FileManager.default.fileExists(atPath: path, isDirectory: &isFolder), isFolder.boolValue else {
      return nil
    }
    guard corpus != nil else {
      throw ValidationError("expected --corpus: a checkpoint's words are those of its corpus")
    }
    let last = "\(path)/checkpoints/last"
    return try Checkpoint(directory: FileManager.default.fileExists(atPath: last) ? last : path)
  }

  private func configuration(_ ranks: Ranks, _ checkpoint: Checkpoint?) throws -> RunConfiguration {
    let own = try ranks.onCoordinator("read the configuration") {
      try checkpoint.map {
        try RunConfiguration(yaml: $0.state.configuration, source: $0.path, settings: settings)
      } ?? RunConfiguration(contentsOf: path, settings: settings)
    }
    let yaml = try ranks.control.broadcast(
      "configuration", Array((own?.yaml ?? "").utf8), from: Ranks.coordinator)
    return try own ?? RunConfiguration(yaml: String(decoding: yaml, as: UTF8.self), source: path)
  }

  private func show(_ result: ExchangeBenchmark.Result) {
    var facts =
      "\(result.ranks) ranks on \(result.nodes) nodes, \(result.threads) threads each, \(result.parameters) "
      + "parameters, \(result.tokensPerStep) words a step, \(seconds(result.computeSeconds)) s of computing"
    if let latency = result.linkLatencyMicroseconds, let rate = result.linkMegabytesPerSecond {
      facts += String(format: ", link %.0f µs and %.0f MB/s", latency, rate)
    }
    print(facts + "\n")
    print(
      "| codec | ratio | MB sent | encode GB/s | decode GB/s | encode s | wire s | decode s | exchange s | exposed s "
        + "| step s | error |")
    print("|---|---|---|---|---|---|---|---|---|---|---|---|")
    for row in result.rows {
      let cells = [
        row.codec, String(format: "%.2f", row.ratio), String(format: "%.1f", Double(row.wireBytes) / 1e6),
        String(format: "%.2f", row.encodeGigabytesPerSecond),
        String(format: "%.2f", row.decodeGigabytesPerSecond), seconds(row.encodeSeconds),
        seconds(row.wireSeconds), seconds(row.decodeSeconds), seconds(row.seconds),
        seconds(row.exposedSeconds), seconds(row.stepSeconds), String(format: "%.3g", row.relativeError),
      ]
      print("| \(cells.joined(separator: " | ")) |")
    }
  }

  private func seconds(_ value: Double) -> String { String(format: "%.3f", value) }
}

/// The corpus that was given, or one of Zipf-distributed words that every host makes for itself.
private struct ZipfCorpus {
  let corpus: Corpus
  private let folder: String?
  private let isOwner: Bool

  init(given path: String?, vocabularySize: Int, configuration: RunConfiguration, ranks: Ranks) throws {
    isOwner = ranks.isFirstOnHost
    if let path {
      folder = nil
      corpus = try ranks.together("open the corpus") {
        try Corpus(opening: URL(filePath: path), verification: ranks.isFirstOnHost ? .full : .headerOnly)
      }
      return
    }
    let name = try ranks.control.broadcast(
      "temporary folder", Array(UUID().uuidString.utf8), from: Ranks.coordinator)
    let folder = FileManager.default.temporaryDirectory
      .appendingPathComponent(
        "milm-\(String(decoding: name, as: UTF8.self))-\(ranks.control.hostNames[ranks.rank])")
    self.folder = folder.path
    try ranks.together("make words") {
      guard ranks.isFirstOnHost else { return }
      try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
      let text = folder.appendingPathComponent("train.txt")
      try Self.text(wordCount: vocabularySize, tokenCount: configuration.tokensPerStep * 40).write(
        to: text, atomically: false, encoding: .utf8)
      _ = try CorpusBuilder(train: [text]).build(at: folder.appendingPathComponent("corpus")) { _ in }
    }
    corpus = try ranks.together("open the words") {
      try Corpus(opening: folder.appendingPathComponent("corpus"), verification: .headerOnly)
    }
  }

  func remove() {
    if let folder, isOwner { try? FileManager.default.removeItem(atPath: folder) }
  }

  /// Words whose frequency falls with their rank, then each word once, so that there are as many as wanted.
  private static func text(wordCount: Int, tokenCount: Int) -> String {
    var state: UInt64 = 1
    var text = ""
    for index in 0..<tokenCount {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      let uniform = Double(state >> 11) / Double(1 << 53)
      text += "w\(Int(pow(Double(wordCount), uniform)) - 1)"
      text += index % 25 == 24 ? "\n" : " "
    }
    // <unk> and <eos> are words too.
    for word in 0..<(wordCount - 2) { text += "w\(word)" + (word % 25 == 24 ? "\n" : " ") }
    return text + "\n"
  }
}
