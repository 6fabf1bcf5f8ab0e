import ArgumentParser
import Communication
import Corpus
import Foundation
import Measurement
import Reporting
import Training

/// `milm plan`: what a run would take on a cluster, from what a step takes here.
struct PlanCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "plan",
    abstract: "Predicts memory, bytes and seconds a step, words a second and hours for a number of ranks.",
    discussion: """
      Takes some steps of the model on this machine and codes their gradients with every codec; ranks are as this \
      process. Start it under mpirun with as many ranks as a host will have, and they share the machine as they will \
      then; over several hosts it measures their link too. Gradients of later steps shrink less.

      Examples:
        milm plan configs/wikitext103-multencdec.yaml --ranks 16 --link 10
        mpirun --bind-to none -n 2 milm plan configs/wikitext-2.yaml --ranks 32 --link 25 --json
      """)

  /// Ranks of the curve: powers of two to this.
  private static let mostRanks = 1024
  /// What TCP leaves of a link's rate, and a usual latency, where the link is not measured.
  private static let (linkShare, linkLatency) = (0.94, 50e-6)

  @Argument(help: "The configuration, a YAML file.", completion: .file(extensions: ["yaml"]))
  var config: String

  @Option(help: "Ranks of the job; as many as are here where none is given.")
  var ranks: Int?

  @Option(help: "Gbit/s of a host's link, in place of what is measured; 10 where there is one host.")
  var link: Double?

  @Option(help: "Words of an epoch; the corpus's, or WikiText-103's, where none is given.")
  var tokens: Int?

  @Option(help: "Epochs of the run.")
  var epochs = 1.0

  @Option(
    help: "Read this corpus's training split; without one, words are drawn by Zipf's law.",
    completion: .directory)
  var corpus: String?

  @Option(help: "How many words the drawn vocabulary has.")
  var vocabularySize = 267_735

  @Option(name: .customLong("set"), help: "Set a key of the configuration: key.path=value. May be repeated.")
  var settings: [String] = []

  @Flag(help: "Print the result as one line of JSON.")
  var json = false

  func validate() throws {
    if let ranks, ranks < 1 { throw ValidationError("--ranks: expected at least 1, found \(ranks)") }
    if let link, !(link > 0) { throw ValidationError("--link: expected Gbit/s above 0, found \(link)") }
    if let tokens, tokens < 1 { throw ValidationError("--tokens: expected at least 1, found \(tokens)") }
    if !(epochs > 0) { throw ValidationError("--epochs: expected more than 0, found \(epochs)") }
    if vocabularySize < 2 {
      throw ValidationError("--vocabulary-size: expected at least 2, found \(vocabularySize)")
    }
  }

  func run() throws {
    onRanks { world in
      let here = Ranks(world)
      let configuration = try RunConfiguration.shared(fromRank0File: config, settings: settings, ranks: here)
      let benchmark = Benchmark(
        configuration, corpusPath: corpus, vocabularySize: vocabularySize, ranks: here)
      let count = ranks ?? here.rankCount
      let probe = try PlanProbe(benchmark, rankCount: count).run()
      guard here.isCoordinator else { return 0 }
      let plan = try Plan(self, configuration, probe, rankCount: count, here: here)
      if json { try printJSON(plan) } else { show(plan) }
      return 0
    }
  }

  /// What is printed.
  struct Plan: Encodable {
    let parameters: Int
    let engine: String
    let linkGigabitsPerSecond: Double
    let memoryBytes: Int
    let coordinatorMemoryBytes: Int
    let step: StepPrediction
    let hoursPerEpoch: Double
    let hours: Double
    let curve: [StepPrediction]

    init(
      _ command: PlanCommand, _ configuration: RunConfiguration, _ probe: PlanProbe.Result, rankCount: Int,
      here: Ranks
    ) throws {
      let costs = StepCosts(
        computeSeconds: probe.computeSeconds, updateSeconds: probe.updateSeconds, ready: probe.ready,
        codecs: probe.codecs, rowElementCount: probe.rowElementCount, tokenCount: probe.tokenCountPerRank,
        sharing: probe.sharingOperationCount == 0
          ? nil
          : SharingCosts(
            rowCount: probe.tokenCountPerRank, width: configuration.model.embedding,
            operationCount: probe.sharingOperationCount, updateSeconds: probe.updateSecondsOfWords))
      let given = command.link.map {
        LinkMeasurement(latencySeconds: linkLatency, bytesPerSecond: $0 * 1e9 / 8 * linkShare)
      }
      let assumed = LinkMeasurement(latencySeconds: linkLatency, bytesPerSecond: 10e9 / 8 * linkShare)
      let link = given ?? probe.link ?? assumed
      let onHost = here.countOnHost
      let perNode = min(configuration.exchange.ranksPerNode ?? onHost, onHost)
      func predict(_ ranks: Int) -> StepPrediction {
        costs.prediction(
          on: Cluster(
            rankCount: ranks, ranksPerNode: perNode, link: link, hasSpareCore: probe.hasSpareCore,
            bucketByteCount: configuration.exchange.bucketMegabytes * 1_000_000))
      }
      let words = try command.tokens ?? command.corpusTokenCount() ?? 103_227_021
      parameters = probe.parameterCount
      engine = probe.engine
      linkGigabitsPerSecond = link.bytesPerSecond * 8e-9
      memoryBytes = probe.byteCountPerRank
      coordinatorMemoryBytes = probe.coordinatorByteCount
      step = predict(rankCount)
      hoursPerEpoch = Double(words) / step.tokensPerSecond / 3600
      hours = hoursPerEpoch * command.epochs
      curve = sequence(first: 1) { $0 < mostRanks ? 2 * $0 : nil }.map(predict)
    }
  }

  private func corpusTokenCount() throws -> Int? {
    guard let corpus else { return nil }
    let description = try Corpus(opening: URL(filePath: corpus), verification: .headerOnly).description
    return description.counts(of: .train).map { Int($0.tokens) }
  }

  private func show(_ plan: Plan) {
    let step = plan.step
    printTable([
      ("model", "\(Readable.count(Double(plan.parameters))) parameters"),
      ("products", plan.engine),
      ("link", String(format: "%.2f Gbit/s for data", plan.linkGigabitsPerSecond)),
      (
        "memory",
        "\(Readable.byteCount(plan.memoryBytes)) a rank, \(Readable.byteCount(plan.coordinatorMemoryBytes)) rank 0"
      ),
      ("ranks", "\(step.ranks) on \(step.nodes) nodes"),
      (
        "a step",
        String(
          format: "%.3f s: %.3f computing, %.3f exchange with ", step.secondsPerStep, step.computeSeconds,
          step.exchangeSeconds)
          + step.codec
      ),
      (
        "sent a step",
        "\(Readable.byteCount(step.bytesPerStep)) a rank, \(String(format: "%.1f", step.ratio)) times less than fp32"
      ),
      ("words a second", Readable.count(step.tokensPerSecond)),
      ("an epoch", String(format: "%.2f hours; the run %.2f", plan.hoursPerEpoch, plan.hours)),
    ])
    print("\nEvery rank with as many lanes as there:\n")
    print("| ranks | nodes | codec | s a step | MB sent a rank | words a second | efficiency |")
    print("|---|---|---|---|---|---|---|")
    for point in plan.curve {
      print(
        "| \(point.ranks) | \(point.nodes) | \(point.ranks > 1 ? point.codec : "") | "
          + String(
            format: "%.3f | %.1f | %.0f | %.0f %% |", point.secondsPerStep, Double(point.bytesPerStep) / 1e6,
            point.tokensPerSecond, 100 * point.efficiency))
    }
  }
}
