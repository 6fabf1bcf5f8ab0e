import ArgumentParser
import Communication
import Foundation
import Measurement
import Reporting
import Training

/// `milm train`: trains a model, alone or as one rank of a job.
struct TrainCommand: ParsableCommand, AnswersSignals {
  static let configuration = CommandConfiguration(
    commandName: "train",
    abstract: "Trains a model, alone or under mpirun.",
    discussion: """
      Examples:
        milm train configs/quickstart.yaml --corpus corpus --output run
        milm train configs/quickstart.yaml --corpus other --output tuned --init run
        mpirun --bind-to none -n 2 milm train configs/wikitext-2.yaml --corpus corpus --output run --resume auto
        mpirun --bind-to none -n 2 milm train --single-node-test
      """)

  @Argument(
    help: .init("The configuration, a YAML file.", valueName: "CONFIG"),
    completion: .file(extensions: ["yaml"]), transform: pathArgument)
  var config: String?

  @Option(
    help: .init("The corpus directory.", valueName: "CORPUS"), completion: .corpora, transform: pathArgument)
  var corpus: String?

  @Option(
    help: .init("The run directory: checkpoints, metrics, report.html, tensorboard.", valueName: "RUN"),
    completion: .runs,
    transform: pathArgument)
  var output: String?

  @Option(
    help: .init(
      "never: refuse an existing run; auto: resume it; or the checkpoint to resume from.",
      valueName: "never|auto|CHECKPOINT"), completion: .resumption)
  var resume = "never"

  @Option(
    name: .customLong("init"),
    help: .init(
      """
      Start a new run from the weights of a checkpoint, of a run or of a model.safetensors file; optimizer, schedule and \
      counters start at step 0.
      """, valueName: "RUN|CHECKPOINT|FILE"), completion: .file(), transform: pathArgument)
  var initialWeights: String?

  @OptionGroup var overrides: ConfigurationSettings

  @Option(
    help: .init(
      "Stop after this step of the whole run; the schedule still follows training.steps.", valueName: "N"))
  var steps: Int?

  @Option(help: .init("Timeout in seconds of every collective before the first step.", valueName: "SECONDS"))
  var startLimit = MPIWorld.defaultStartSeconds

  @Flag(
    help: """
      Write a timeline of every rank to RUN/trace, for ui.perfetto.dev or chrome://tracing: the first 20 steps of this \
      process, then ten at every doubling (about 160 of 400,000).
      """)
  var trace = false

  @Flag(help: "Check everything and print what would run, without training or writing.")
  var dryRun = false

  @Flag(help: "Print the outcome as one line of JSON.")
  var json = false

  @Flag(
    help: """
      Run a small end-to-end test with built-in text in a temporary directory; takes no other argument.
      """)
  var singleNodeTest = false

  @Option(
    name: .customLong("fault"),
    help: ArgumentHelp(
      "For tests: ACTION:POINT:RANK:STEP, a fault to inject.", valueName: "FAULT", visibility: .hidden))
  var faults: [String] = []

  func validate() throws {
    if singleNodeTest {
      guard config == nil, corpus == nil, output == nil, resume == "never", overrides.settings.isEmpty,
        steps == nil,
        !dryRun, !json, !trace, initialWeights == nil
      else {
        throw ValidationError("--single-node-test takes no other argument")
      }
      return
    }
    if config == nil { throw ValidationError("expected a configuration file, or --single-node-test") }
    if corpus == nil { throw ValidationError("expected --corpus with a corpus directory") }
    if output == nil { throw ValidationError("expected --output with a run directory") }
    if initialWeights != nil, !["never", "auto"].contains(resume) {
      throw ValidationError("expected either --init or --resume with a checkpoint, found both")
    }
    if let steps, steps < 1 { throw ValidationError("--steps: expected at least 1, found \(steps)") }
    guard startLimit > 0 else {
      throw ValidationError("--start-limit: expected more than 0 seconds, found \(startLimit)")
    }
    for text in faults {
      do { _ = try Fault(text) } catch { throw ValidationError("\(error)") }
    }
  }

  var answersSignals: Bool { !singleNodeTest }

  func run() throws {
    let stop = StopRequest()
    let terminal = singleNodeTest ? .standardError : try StopSignals.handle(stop)
    let plan = FaultPlan(try faults.map { try Fault($0) })
    try plan.injectAtLaunch(rank: Launch.current.rank)
    onRanks(startSeconds: singleNodeTest ? nil : startLimit) { world in
      let ranks = Ranks(world)
      // A rank on another host does not see the terminal that its lines appear on.
      let terminal = terminal.appearing(onTerminal: try ranks.broadcast(terminal.isTerminal))
      let logger = makeLogger(rank: ranks.rank, output: terminal)
      if singleNodeTest {
        let checks = try SingleNodeTest(ranks: ranks, logger: logger).run()
        if ranks.isCoordinator { try checks.printTable() }
        return checks.allSatisfy { $0.failure == nil } ? 0 : 1
      }
      guard let config, let corpus, let output else { throw CleanExit.helpRequest(self) }
      let configuration = try RunConfiguration.shared(
        fromRank0File: config, settings: overrides.settings, ranks: ranks)
      var request = TrainingRequest(corpus: corpus, output: output)
      request.resume = resume == "never" ? .never : resume == "auto" ? .auto : .checkpoint(resume)
      request.initialWeights = initialWeights
      request.lastStep = steps
      request.traces = trace
      let run = TrainingRun(
        request, configuration: configuration, ranks: ranks, logger: logger, output: terminal, stop: stop,
        faults: plan, vocabularyDecision: MeasuredVocabularyDecision())
      if dryRun {
        let found = try run.rehearse()
        if json, ranks.isCoordinator {
          try printJSON(Rehearsal(parameters: found.parameters, step: found.step))
        }
        return 0
      }
      let outcome = try run.train()
      let command = resumingCommand(hostNames: world.control.hostNames)
      let report = Result { if ranks.isCoordinator { try self.report(outcome, output, command) } }
      guard !outcome.isInterrupted else {
        // A report that cannot be written does not change the status that launchers act on.
        if case .failure(let error) = report { printMessage("\(error)") }
        return interruptedStatus
      }
      try report.get()
      if outcome.hasGivenUpWriting { return 1 }
      return outcome.failedWriteCount == 0 ? 0 : 1
    }
  }

  private func report(_ outcome: Trainer.Outcome, _ output: String, _ resumingCommand: String) throws {
    if outcome.failedWriteCount > 0 {
      printMessage(
        "\(outcome.failedWriteCount) writes to \(output) failed; the log above says which and why")
    }
    if outcome.hasGivenUpWriting {
      printMessage(
        "stopped at step \(outcome.step): checkpoints could not be written; once they can, continue with: "
          + resumingCommand)
    }
    if outcome.isInterrupted {
      printMessage("interrupted at step \(outcome.step); continue with: \(resumingCommand)")
    }
    if json { return try printJSON(Summary(run: output, outcome)) }
    var rows = [("run", output), ("step", "\(outcome.step)\(outcome.isFinished ? ", finished" : "")")]
    if let perplexity = outcome.bestPerplexity, let step = outcome.bestStep {
      rows.append(("best", "valid perplexity \(Readable.decimal(perplexity, 2)) at step \(step)"))
    }
    try printTable(rows)
  }

  /// The command line that continues the run with as many ranks, as it can be pasted into a shell.
  private func resumingCommand(hostNames: [String]) -> String {
    var words = Array(CommandLine.arguments.dropFirst())
    if let place = words.firstIndex(of: "--resume"), place + 1 < words.count {
      words[place + 1] = "auto"
    } else {
      words.removeAll { $0.hasPrefix("--resume=") }
      words += ["--resume", "auto"]
    }
    return Launch.current.commandLine(words, hostNames: hostNames)
  }

  private struct Rehearsal: Encodable {
    let dryRun = true
    let parameters: Int
    /// The step that training would continue from; 0 for a new run.
    let step: Int
  }

  private struct Summary: Encodable {
    let run: String
    let step: Int
    let finished: Bool
    let bestPerplexity: Double?
    let bestStep: Int?

    init(run: String, _ outcome: Trainer.Outcome) {
      self.run = run
      step = outcome.step
      finished = outcome.isFinished
      bestPerplexity = outcome.bestPerplexity
      bestStep = outcome.bestStep
    }
  }
}
