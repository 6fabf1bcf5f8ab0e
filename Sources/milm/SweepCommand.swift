import ArgumentParser
import Communication
import Foundation
import Logging
import Platform
import Reporting
import Training

/// `milm sweep`: trains one run for every combination of values, and compares them.
struct SweepCommand: ParsableCommand, AnswersSignals {
  static let configuration = CommandConfiguration(
    commandName: "sweep",
    abstract: "Trains a run for every combination of some keys' values, and compares them.",
    discussion: """
      Every run is a directory in that of the sweep, named by its values; logs are in its logs directory. The same \
      command again skips finished runs and continues the others. A run that fails does not end the sweep, but its exit \
      status is 1. SIGINT and SIGTERM stop the runs with checkpoints; the exit status is 75. At the end the sweep prints \
      the table of milm compare and writes report.html.

      Examples:
        milm sweep configs/quickstart.yaml --set model.variant=lstm,multdec --set training.seed=1,2,3 --corpus corpus \
      --output sweep
        milm sweep configs/wikitext-2.yaml --set optimizer.learningRate=3e-4,1e-3,3e-3 --set \
      model.dropout.output=0,0.1,0.2,0.3 --random 6 --corpus corpus --output search --parallel 2
        milm sweep configs/wikitext-2.yaml --set training.seed=1,2 --corpus corpus --output seeds --launch \
      "cluster/launch.sh -n 4 --"
      """)

  @Argument(
    help: .init("The configuration, a YAML file.", valueName: "CONFIG"),
    completion: .file(extensions: ["yaml"]),
    transform: pathArgument)
  var config: String

  @Option(
    name: .customLong("set"),
    help: .init("Values of a key: key.path=value,value… May be repeated.", valueName: "KEY=VALUE,…"),
    completion: .settings)
  var settings: [String] = []

  @Option(
    help: .init("The corpus directory.", valueName: "CORPUS"), completion: .corpora, transform: pathArgument)
  var corpus: String

  @Option(
    help: .init("The directory of the sweep, which holds its runs.", valueName: "DIR"),
    completion: .directory,
    transform: pathArgument)
  var output: String

  @Option(
    help: .init("Runs at a time; they share the processors of this host.", valueName: "N"))
  var parallel = 1

  @Option(help: .init("Try this many combinations, chosen at random (default: all).", valueName: "N"))
  var random: Int?

  @Option(help: .init("Seed of --random (default: 1).", valueName: "N"))
  var randomSeed: Int?

  @Flag(help: "Evaluate the best checkpoint of each run on the test split too.")
  var test = false

  @Option(
    help: .init(
      "Words that start each run, such as \"mpirun -n 4\"; after a last word -- milm itself is left out.",
      valueName: "COMMAND"))
  var launch = ""

  @Flag(help: "Print the outcome as one line of JSON.")
  var json = false

  func validate() throws {
    if parallel < 1 { throw ValidationError("--parallel: expected at least 1, found \(parallel)") }
    if let random, random < 1 { throw ValidationError("--random: expected at least 1, found \(random)") }
    if random == nil, randomSeed != nil { throw ValidationError("expected --random with --random-seed") }
    do { _ = try grid } catch { throw WrongUsage(description: "\(error)") }
  }

  private var grid: ConfigurationGrid {
    get throws { try ConfigurationGrid(settings, choosing: random, seed: randomSeed ?? 1) }
  }

  func run() throws {
    let rankCount = ProcessInfo.processInfo.environment["OMPI_COMM_WORLD_SIZE"].flatMap { Int($0) } ?? 1
    guard rankCount == 1 else {
      throw WrongUsage(
        description:
          "sweep: expected one process, found \(rankCount) ranks; --launch starts each run under mpirun")
    }
    let stop = StopRequest()
    let terminal = try StopSignals.handle(stop)
    let grid = try grid
    let commands = SweepJob.Commands(
      configuration: config, corpus: corpus, directory: output, tests: test,
      launcher: launch.split(separator: " ").map(String.init),
      threadCount: parallel > 1 ? max(1, Processors.allowed.usableCount / parallel) : nil)
    // A wrong combination is found before anything is trained.
    let jobs = try grid.points.map { try SweepJob($0, commands) }
    try prepareDirectory(grid)
    var sweep = Sweep(
      jobs, parallelCount: parallel, stop: stop, logger: makeLogger(output: terminal), output: terminal)
    let outcome = sweep.run()
    guard !outcome.isInterrupted else {
      printMessage(
        "interrupted after \(outcome.finished.count) of \(jobs.count) runs; continue with: "
          + Launch.current.commandLine(Array(CommandLine.arguments.dropFirst())))
      throw ExitCode(interruptedStatus)
    }
    try report(outcome)
    guard outcome.failures.isEmpty else { throw ExitCode(1) }
  }

  private func prepareDirectory(_ grid: ConfigurationGrid) throws {
    try DirectoryKind.sweep.requireOutput(output)
    try makeDirectories("\(output)/logs")
    var record = SweepRecord(configuration: config, corpus: corpus, grid: grid)
    try record.write(to: output)
  }

  private func report(_ outcome: Sweep.Outcome) throws {
    for failure in outcome.failures {
      printMessage("\(failure.run) failed with status \(failure.status): \(failure.reason) (\(failure.log))")
    }
    let runs = outcome.finished + outcome.failures.map(\.run)
    let begun = runs.map { "\(output)/\($0)" }.filter { (try? ComparedRun($0, name: $0)) != nil }
    guard !begun.isEmpty else {
      if json {
        try printJSON(Result(output: output, page: nil, failures: outcome.failures, comparison: nil))
      }
      return
    }
    let comparison = try Comparison(ofRunsAt: begun)
    let page = "\(output)/report.html"
    try comparison.writePage(to: page)
    if json {
      return try printJSON(
        Result(output: output, page: page, failures: outcome.failures, comparison: comparison))
    }
    try comparison.printTable()
    try printResult()
    try printTable([("page", page)])
  }

  private struct Result: Encodable {
    let output: String
    let page: String?
    let failures: [Sweep.Failure]
    let comparison: Comparison?
  }
}
