import Checkpoints
import Foundation
import Platform
import Reporting
import Training

/// A run of a sweep, and the program that works on it: `milm train`, then `milm evaluate` where that is asked for.
struct SweepJob {
  enum Outcome {
    case finished(wasFinished: Bool)
    case interrupted
    case failed(status: Int32, reason: String)
  }

  /// The commands of all runs of a sweep.
  struct Commands {
    let configuration: String
    let corpus: String
    let directory: String
    /// Whether the best checkpoint is evaluated on the test split.
    let tests: Bool
    /// Words before milm's own, such as those of `mpirun`.
    let launcher: [String]
    /// Of each run.
    let threadCount: Int?
  }

  let name: String
  private let commands: Commands
  private let settings: [String]
  private let configuration: RunConfiguration
  private var follower: MetricsFollower
  private var child: ChildProcess?
  private var isTraining = true
  /// The step that the sweep found the run at, and the newest one.
  private var steps: (first: Int, last: Int)

  /// A run of the sweep; throws where its configuration is wrong.
  init(_ point: ConfigurationGrid.Point, _ commands: Commands) throws {
    name = point.name
    settings = point.settings
    self.commands = commands
    configuration = try RunConfiguration(contentsOf: commands.configuration, settings: settings)
    follower = MetricsFollower(RunDirectory(path: "\(commands.directory)/\(name)").metricsPath)
    steps = (0, 0)
    let reached = try follower.newLines().reduce(0) { max($0, $1.step) }
    steps = (reached, reached)
  }

  var run: RunDirectory { RunDirectory(path: "\(commands.directory)/\(name)") }
  var logPath: String { "\(commands.directory)/logs/\(name).log" }
  /// Steps that remain, at the beginning of the sweep and taken so far.
  var stepCount: Int { max(configuration.training.steps - steps.first, 0) }
  var doneCount: Int { min(max(steps.last - steps.first, 0), stepCount) }
  var isRunning: Bool { child != nil }

  /// Starts what is to be done; returns the outcome where nothing is.
  mutating func start() throws -> Outcome? {
    guard try isFinished() else {
      try startChild(
        [
          "train", commands.configuration, "--corpus", commands.corpus, "--output", run.path, "--resume",
          "auto",
        ]
          + settings.flatMap { ["--set", $0] })
      return nil
    }
    return try startTest() ? nil : .finished(wasFinished: true)
  }

  /// The outcome once the work has ended; reads how far it is.
  mutating func poll(isStopping: Bool) throws -> Outcome? {
    // A look that fails is only progress that is not shown.
    for line in (try? follower.newLines()) ?? [] { steps.last = max(steps.last, line.step) }
    guard let status = child?.statusIfEnded() else { return nil }
    child = nil
    switch status {
    case 0 where isTraining && !isStopping: return try startTest() ? nil : .finished(wasFinished: false)
    case 0 where isTraining && commands.tests: return .interrupted
    case 0: return .finished(wasFinished: false)
    case interruptedStatus: return .interrupted
    // An evaluation has nothing to save, and ends as the signal ends it.
    case 128 + SIGUSR1 where isStopping: return .interrupted
    default: return .failed(status: status, reason: lastLine())
    }
  }

  /// Asks it to stop, with a checkpoint; `mpirun` and `srun` pass this signal on.
  func stop() { child?.send(SIGUSR1) }

  /// Whether an earlier process has finished this very configuration.
  private func isFinished() throws -> Bool {
    guard let last = try run.files.lastSession(), last.end?.ended == .finished,
      let earlier = try? RunConfiguration(contentsOf: run.configurationPath)
    else { return false }
    return earlier == configuration
  }

  /// Starts to evaluate the test split where that is asked for and has not been done; returns whether it has.
  private mutating func startTest() throws -> Bool {
    guard commands.tests, try !ComparedRun(run.path, name: name).isTested else { return false }
    isTraining = false
    try startChild(["evaluate", run.path, "--corpus", commands.corpus, "--split", "test"])
    return true
  }

  private mutating func startChild(_ arguments: [String]) throws {
    let program = try linkTarget("/proc/self/exe")
    // A script that ends with `--`, such as cluster/launch.sh, starts the program that MILM names.
    let start = commands.launcher.last == "--" ? commands.launcher : commands.launcher + [program]
    var environment = ["MILM": program]
    // A launcher gives its ranks threads of their own.
    if commands.launcher.isEmpty, ProcessInfo.processInfo.environment["OMP_NUM_THREADS"] == nil {
      environment["OMP_NUM_THREADS"] = commands.threadCount.map { "\($0)" }
    }
    child = try ChildProcess(start + arguments, environment: environment, log: logPath)
  }

  /// The last line that it has printed, which says why it has failed.
  private func lastLine() -> String {
    let text = (try? String(contentsOfFile: logPath, encoding: .utf8)) ?? ""
    return text.split(whereSeparator: \.isNewline).last.map(String.init) ?? "no message"
  }
}
