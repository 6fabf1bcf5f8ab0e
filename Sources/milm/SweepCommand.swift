import ArgumentParser
import Communication
import Corpus
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
    guard Launch.current.isSingleton else {
      throw WrongUsage(
        description:
          "sweep: expected to be started alone, found a launcher such as mpirun or srun; --launch starts each run under one"
      )
    }
    let stop = StopRequest()
    let terminal = try StopSignals.handle(stop)
    let grid = try grid
    let commands = SweepJob.Commands(
      configuration: config, corpus: corpus, directory: output, tests: test,
      launcher: launch.split(separator: " ").map(String.init),
      threadCount: parallel > 1 ? max(1, Processors.allowed.usableCount / parallel) : nil)
    // A wrong combination or corpus is found before anything is written or trained.
    let jobs = try grid.points.map { try SweepJob($0, commands) }
    _ = try Corpus(opening: URL(filePath: corpus), verification: .headerOnly)
    try prepareDirectory(grid)
    var sweep = Sweep(
      jobs, parallelCount: parallel, stop: stop, logger: makeLogger(output: terminal), output: terminal)
    let outcome = sweep.run()
    guard !outcome.isInterrupted else {
      printMessage(
        "interrupted after \(outcome.finished.count) of \(jobs.count) runs; continue with: "
          + Launch.current.commandLine(Array(CommandLine.arguments.dropFirst())))
      // A report that cannot be written does not change the status that launchers act on.
      if json { do { try report(outcome) } catch { printMessage("\(error)") } }
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
    let begun =
      outcome.finished.filter { isReadable($0, warns: true) }
      + outcome.failures.map(\.run).filter { isReadable($0, warns: false) }
    guard !begun.isEmpty else {
      if json { try printJSON(Result(output, outcome, page: nil, comparison: nil)) }
      return
    }
    let comparison = try Comparison(ofRunsAt: begun.map { "\(output)/\($0)" })
    let page = "\(output)/report.html"
    try comparison.writePage(to: page)
    if json {
      return try printJSON(Result(output, outcome, page: page, comparison: comparison))
    }
    try comparison.printTable()
    try printResult()
    try printTable([("page", page)])
  }

  /// Whether a run of the sweep can be compared.
  private func isReadable(_ name: String, warns: Bool) -> Bool {
    do {
      _ = try ComparedRun("\(output)/\(name)", name: name)
      return true
    } catch {
      if warns { printMessage("warning: \(error); the comparison leaves \(name) out") }
      return false
    }
  }

  private struct Result: Encodable {
    let output: String
    let interrupted: Bool
    let page: String?
    let failures: [Sweep.Failure]
    let comparison: Comparison?

    init(_ output: String, _ outcome: Sweep.Outcome, page: String?, comparison: Comparison?) {
      self.output = output
      interrupted = outcome.isInterrupted
      self.page = page
      failures = outcome.failures
      self.comparison = comparison
    }
  }
}
