import ArgumentParser
import Communication
import Corpus
import Foundation
import Measurement
import Platform
import Reporting
import Tensors
import Training

/// `milm plan`: predicts a run on a cluster from measurements on this machine.
struct PlanCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "plan",
    abstract: "Predicts memory, bytes and seconds per step, tokens/s and hours for a number of ranks.",
    discussion: """
      Times some steps of the model on this machine and encodes their gradients with every codec. Start it under mpirun \
      with as many ranks as a host will have, so that they share the machine as they will then; over several hosts it \
      also measures their link. Gradients of later steps compress less.

      Examples:
        milm plan configs/wikitext103-multencdec.yaml --ranks 16 --link 10
        mpirun --bind-to none -n 2 milm plan configs/wikitext-2.yaml --ranks 32 --link 25 --json
      """)

  /// Ranks of the curve: powers of two to this.
  private static let mostRanks = 1024
  /// TCP's payload as a fraction of a link's rate, and a usual latency in seconds, where the link is not measured.
  private static let (linkEfficiency, linkLatency) = (0.94, 50e-6)
  /// Gbit/s where nothing is known of the link.
  private static let assumedLink = 10
  /// Seconds that a message costs the thread that handles it, beyond latency and bytes.
  private static let secondsPerMessage = 5e-6

  @Argument(
    help: .init("The configuration, a YAML file.", valueName: "CONFIG"),
    completion: .file(extensions: ["yaml"]), transform: pathArgument)
  var config: String

  @Option(help: .init("Number of ranks (default: the ranks of this job).", valueName: "N"))
  var ranks: Int?

  @Option(
    help: .init(
      "Gbit/s of a host's link (default: measured between hosts, 10 on one host).", valueName: "GBIT/S"))
  var link: Double?

  @Option(help: .init("Tokens per epoch (default: the corpus's, else WikiText-103's).", valueName: "N"))
  var tokens: Int?

  @Option(help: .init("Number of epochs (default: those of training.steps).", valueName: "X"))
  var epochs: Double?

  @Option(
    help: .init("Read this corpus's training split (default: Zipf-distributed tokens).", valueName: "CORPUS"),
    completion: .corpora, transform: pathArgument)
  var corpus: String?

  @OptionGroup var vocabulary: AssumedVocabulary

  @OptionGroup var overrides: ConfigurationSettings

  @Flag(help: "Print the result as one line of JSON.")
  var json = false

  func validate() throws {
    if let ranks, !(1...1 << 20).contains(ranks) {
      throw ValidationError("--ranks: expected 1 to \(1 << 20), found \(ranks)")
    }
    if let link, !(link > 0) || !link.isFinite {
      throw ValidationError("--link: expected Gbit/s above 0, found \(link)")
    }
    if let tokens, tokens < 1 { throw ValidationError("--tokens: expected at least 1, found \(tokens)") }
    if let epochs, !(epochs > 0) || !epochs.isFinite {
      throw ValidationError("--epochs: expected more than 0, found \(epochs)")
    }
  }

  func run() throws {
    onRanks { world in
      let here = Ranks(world)
      let configuration = try RunConfiguration.shared(
        fromRank0File: config, settings: overrides.settings, ranks: here)
      let benchmark = Benchmark(
        configuration, corpusPath: corpus, vocabularySize: vocabulary.size, ranks: here)
      let count = ranks ?? here.rankCount
      let probe = try PlanProbe(benchmark, rankCount: count).run()
      let computeEngine = try configuration.training.engine(here)
      let available = try here.control.hostShare().memory
      guard here.isCoordinator else { return 0 }
      let plan = try Plan(
        self, configuration, probe, rankCount: count, here: here, computeEngine: computeEngine,
        available: available)
      if json { try printJSON(plan) } else { try show(plan) }
      return 0
    }
  }

  /// The output.
  struct Plan: Encodable {
    let parameters: Int
    let engine: String
    let linkGigabitsPerSecond: Double
    let memoryBytes: Int
    let coordinatorMemoryBytes: Int
    /// Available memory of this rank's host, container or batch job ÷ ranks on it; nil if unknown.
    let availableMemoryBytes: Int?
    let step: StepPrediction
    /// The step with the placement of the vocabulary that makes it shortest.
    let best: StepPrediction
    let hoursPerEpoch: Double
    /// Of the run: of `steps`, which are `epochs`.
    let hours: Double
    let epochs: Double
    let steps: Int
    let vocabularySize: Int
    /// Values assumed for missing arguments, one line each.
    let assumptions: [String]
    let curve: [StepPrediction]
    /// How far apart the measured times of a pass were, as a fraction of their median.
    let computeSpread: Double
    /// Processors of this host that other programs kept busy meanwhile.
    let otherLoad: Double
    /// Why the figures may be off.
    let caveats: [String]

    init(
      _ command: PlanCommand, _ configuration: RunConfiguration, _ probe: PlanProbe.Result, rankCount: Int,
      here: Ranks, computeEngine: ComputeEngine, available: HostShare.Memory?
    ) throws {
      let costs = probe.costs
      func link(gigabitsPerSecond: Double) -> LinkMeasurement {
        LinkMeasurement(
          latencySeconds: linkLatency, bytesPerSecond: gigabitsPerSecond * 1e9 / 8 * linkEfficiency,
          secondsPerMessage: secondsPerMessage)
      }
      let link =
        command.link.map(link) ?? probe.link ?? link(gigabitsPerSecond: Double(assumedLink))
      let onHost = here.countOnHost
      let perNode = min(configuration.exchange.ranksPerNode ?? onHost, onHost)
      func cluster(_ ranks: Int) -> Cluster {
        Cluster(rankCount: ranks, ranksPerNode: perNode, link: link, hasSpareCore: probe.hasSpareCore)
      }
      let memory = try PlannedMemory(
        configuration, vocabularySize: probe.model.vocabularySize, rankCount: rankCount,
        engine: computeEngine, available: available)
      func fittingBest(_ cluster: Cluster) -> StepPrediction {
        costs.best(on: cluster) { memory.fits(groupSize: $0, on: cluster) }
      }
      func predict(_ ranks: Int) -> StepPrediction {
        let cluster = cluster(ranks)
        return switch configuration.exchange.vocabulary {
        case .auto: fittingBest(cluster)
        case .replicated: costs.prediction(on: cluster)
        case .sharded: costs.prediction(on: cluster, groupSize: ranks)
        case .groups(let size):
          costs.prediction(on: cluster, groupSize: ranks.isMultiple(of: size) ? size : 1)
        }
      }
      let knownTokenCount = try command.tokens ?? command.corpusTokenCount()
      let tokenCount = knownTokenCount ?? WikiText103.trainingTokenCount
      vocabularySize = probe.model.vocabularySize
      let assumesTokens =
        "assumes WikiText-103's \(tokenCount) tokens per epoch; --corpus or --tokens sets others"
      let assumesLink = "assumes a link of \(assumedLink) Gbit/s between hosts; --link sets another"
      assumptions =
        command.vocabulary.assumptions(corpus: command.corpus)
        + (knownTokenCount == nil ? [assumesTokens] : [])
        + (command.link == nil && probe.link == nil ? [assumesLink] : [])
      parameters = probe.model.parameters.parameterCount
      engine = probe.engine
      linkGigabitsPerSecond = link.bytesPerSecond * 8e-9
      let step = predict(rankCount)
      // Ranks on separate nodes: rank 0 has the largest need.
      let nodes = NodeLayout(nodeOfRank: Array(0..<rankCount))
      func need(_ rank: Int) throws -> Int {
        try MemoryNeed(
          configuration, vocabularySize: probe.model.vocabularySize, rank: rank, nodes: nodes,
          engine: computeEngine, vocabularyGroupSize: step.vocabularyGroup
        ).byteCount
      }
      memoryBytes = try need(rankCount - 1)
      coordinatorMemoryBytes = try need(Ranks.coordinator)
      availableMemoryBytes = available?.byteCountPerRank
      self.step = step
      best = fittingBest(cluster(rankCount))
      hoursPerEpoch = Double(tokenCount) / step.tokensPerSecond / 3600
      let stepsPerEpoch = Double(tokenCount) / Double(configuration.tokensPerStep)
      epochs = command.epochs ?? Double(configuration.training.steps) / stepsPerEpoch
      steps =
        command.epochs.map { Int(min($0 * stepsPerEpoch, 1e15).rounded(.up)) } ?? configuration.training.steps
      hours = hoursPerEpoch * epochs
      curve = sequence(first: 1) { $0 < mostRanks ? 2 * $0 : nil }.map(predict)
      computeSpread = probe.computeSpread
      otherLoad = probe.otherLoad
      caveats = PlanCommand.caveats(probe)
    }
  }

  /// Marks figures that something else has disturbed.
  fileprivate static func caveats(_ probe: PlanProbe.Result) -> [String] {
    var lines: [String] = []
    if HostLoad.disturbs(probe.otherLoad, of: Host.processorCount) {
      lines.append(
        String(
          format:
            "other programs kept %.2f of %d processors busy: the predicted times are too long; run plan again on "
            + "an idle machine", probe.otherLoad, Host.processorCount))
    }
    if probe.computeSpread > PlanProbe.toleratedSpread {
      lines.append(
        String(
          format:
            "the times of a pass differed by %.0f %% of their median, also after measuring again: expect the same "
            + "spread of the prediction", 100 * probe.computeSpread))
    }
    return lines
  }

  private func corpusTokenCount() throws -> Int? {
    guard let corpus else { return nil }
    let description = try Corpus(opening: URL(filePath: corpus), verification: .headerOnly).description
    return description.counts(of: .train).map { Int($0.tokens) }
  }

  /// Says so where a host like this one has too little memory.
  private func missingMemory(_ plan: Plan) -> String {
    guard let available = plan.availableMemoryBytes, available < plan.coordinatorMemoryBytes else {
      return ""
    }
    return "; too much for this host, with \(Readable.byteCount(available)) available per rank"
  }

  private func show(_ plan: Plan) throws {
    let step = plan.step
    try printTable(
      [
        (
          "model",
          "\(Readable.count(Double(plan.parameters))) parameters, vocabulary of \(plan.vocabularySize) tokens"
        ),
        ("engine", plan.engine),
        ("link", String(format: "%.2f Gbit/s for data", plan.linkGigabitsPerSecond)),
        (
          "memory",
          "\(Readable.byteCount(plan.memoryBytes)) per rank, \(Readable.byteCount(plan.coordinatorMemoryBytes)) on rank 0"
            + missingMemory(plan)
        ),
        ("ranks", "\(step.ranks) on \(step.nodes) nodes"),
        (
          "vocabulary",
          step.vocabularyGroup == 1 ? "replicated" : "sharded in groups of \(step.vocabularyGroup) ranks"
        ),
        (
          "per step",
          String(
            format: "%.3f s: %.3f compute, %.3f exposed exchange with ", step.secondsPerStep,
            step.computeSeconds,
            step.exchangeSeconds)
            + step.codec
        ),
        (
          "sent per step",
          "\(Readable.byteCount(step.bytesPerStep)) per rank, \(String(format: "%.1f", step.ratio)) times less than fp32"
        ),
        ("tokens/s", Readable.count(step.tokensPerSecond)),
        (
          "hours",
          "\(Readable.decimal(plan.hoursPerEpoch, 2)) per epoch, \(Readable.decimal(plan.hours, 2)) for "
            + "\(plan.steps) steps (\(Readable.decimal(plan.epochs, 2)) epochs)"
        ),
      ] + plan.assumptions.map { ("note", $0) })
    let advised = [step, plan.best].firstNearMinimum(\.secondsPerStep) ?? step
    if advised.vocabularyGroup != step.vocabularyGroup {
      let seconds = String(format: "%.3f", advised.secondsPerStep)
      try printResult(
        "\nexchange.vocabulary: \(advised.vocabularyGroup) is predicted to take \(seconds) s per step.")
    }
    for caveat in plan.caveats { try printResult("\nwarning: \(caveat)") }
    try printResult("\nWeak scaling, same lanes per rank:\n")
    try printMarkdown(
      ["ranks", "nodes", "codec", "s per step", "MB sent per rank", "tokens/s", "efficiency"],
      plan.curve.map { point in
        [
          "\(point.ranks)", "\(point.nodes)", point.ranks > 1 ? point.codec : "",
          String(format: "%.3f", point.secondsPerStep),
          String(format: "%.1f", Double(point.bytesPerStep) / 1e6),
          String(format: "%.0f", point.tokensPerSecond), String(format: "%.0f %%", 100 * point.efficiency),
        ]
      })
  }
}
