import ArgumentParser
import Checkpoints
import Foundation
import Platform
import Reporting
import Synchronization
import Training

/// `milm watch`: follows a run that another process trains.
struct WatchCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "watch",
    abstract: "Follows a run from another terminal or host, until it ends.",
    discussion: """
      Reads the files of the run, and draws the progress line that training draws, or prints a line for every report \
      where standard error is no terminal. Exit status: 0 if the run has finished or has stopped at --steps, 75 if it was \
      interrupted, 1 if it has failed. Ctrl-C ends watching, not the run.

      Example:
        milm watch run
      """)

  @Argument(help: .init("A run.", valueName: "RUN"), completion: .runs, transform: pathArgument)
  var path: String

  @Option(help: .init("Seconds between looks at the files.", valueName: "SECONDS"))
  var interval = 1.0

  @Flag(help: "Print the outcome as one line of JSON.")
  var json = false

  func validate() throws {
    guard interval > 0, interval <= 3600 else {
      throw ValidationError("--interval: expected more than 0 and at most 3600 seconds, found \(interval)")
    }
  }

  func run() throws {
    let run = RunDirectory(path: path)
    guard try run.files.lastSession() != nil else {
      throw MilmError(
        "\(path): expected a run that trains or has trained, found none; milm train makes a run, on a corpus that milm prepare builds"
      )
    }
    var watch = RunWatch(run)
    while try !watch.look() {
      // As after `milm watch run 2>&1 | head`.
      guard !StandardStream.error.hasLostReader else { throw ExitCode(1) }
      Thread.sleep(forTimeInterval: interval)
    }
    watch.finish()
    let report = Result { try self.report(watch) }
    let status = Self.status(of: watch.end)
    guard status == 0 else {
      // A report that cannot be written does not change the status that tells how the run has ended.
      if case .failure(let error) = report { printMessage("\(error)") }
      throw ExitCode(status)
    }
    try report.get()
  }

  /// The exit status that tells how a run has ended; nil where it was killed.
  private static func status(of end: RunEnd?) -> Int32 {
    switch end?.ended {
    case .finished, .stopped: 0
    case .interrupted: interruptedStatus
    case .failed, nil: 1
    }
  }

  private func report(_ watch: RunWatch) throws {
    let end = watch.end
    if json {
      try printJSON(
        Outcome(
          run: path, ended: end?.ended.rawValue ?? "killed", step: watch.step,
          bestPerplexity: watch.best?.perplexity, bestStep: watch.best?.step))
    } else {
      var rows = [("run", path), ("step", "\(watch.step), \(end?.ended.rawValue ?? "killed")")]
      if let best = watch.best {
        rows.append(("best", "valid perplexity \(Readable.decimal(best.perplexity, 2)) at step \(best.step)"))
      }
      try printTable(rows)
    }
  }

  private struct Outcome: Encodable {
    let run: String
    let ended: String
    let step: Int
    let bestPerplexity: Double?
    let bestStep: Int?
  }
}

/// What is seen of a run that another process trains.
private struct RunWatch {
  private let run: RunDirectory
  private var follower: MetricsFollower
  private var session: RunSession?
  private var progress: TrainingProgress?
  /// The time that the session has trained so far, as its reports say.
  private let trained = TrainedTime()
  private var tokens = 0
  private var evaluationSeconds: Double?
  private(set) var step = 0
  private(set) var best: (step: Int, perplexity: Double)?
  private(set) var end: RunEnd?
  /// In seconds, three hundred years.
  private static let longestReport = 1e10

  init(_ run: RunDirectory) {
    self.run = run
    follower = MetricsFollower(run.metricsPath)
  }

  /// Shows what is new; returns whether the run has ended.
  mutating func look() throws -> Bool {
    // A process writes its last line, then its end, and is gone: they are read in the opposite order.
    let isGone = hasVanished()
    let last = try run.files.lastSession()
    let lines = try follower.newLines()
    if let session = last?.session, session != self.session { try begin(session) }
    var newest: MetricsLine?
    for line in lines {
      if line.split != nil { addEvaluation(line) } else { newest = addTraining(line) ?? newest }
    }
    if let newest {
      progress?.update(newest, closingSeconds: evaluationSeconds, evaluationSeconds: evaluationSeconds)
    }
    end = last?.end
    return end != nil || isGone
  }

  func finish() { progress?.finish() }

  private mutating func begin(_ session: RunSession) throws {
    progress?.finish()
    self.session = session
    tokens = session.tokens
    trained.seconds.withLock { $0 = 0 }
    if best.map({ $0.step > session.step }) == true { best = nil }
    let configuration = try? RunConfiguration(contentsOf: run.configurationPath)
    progress = TrainingProgress(
      stepCount: session.lastStep, firstStep: session.step,
      evaluateEvery: configuration?.coordinator.evaluateEvery ?? 0, clock: trained.clock)
  }

  /// The line, unless it is one of an earlier session.
  private mutating func addTraining(_ line: MetricsLine) -> MetricsLine? {
    step = max(line.step, session?.step ?? 0)
    guard let session, line.step > session.step else { return nil }
    if line.tokensPerSecond > 0 {
      // Numbers of a file: a rate near zero must not overflow the clock.
      let seconds = min(Double(max(line.tokens - tokens, 0)) / line.tokensPerSecond, Self.longestReport)
      trained.seconds.withLock { $0 = min($0 + seconds, Self.longestReport) }
    }
    tokens = line.tokens
    return line
  }

  private mutating func addEvaluation(_ line: MetricsLine) {
    evaluationSeconds = line.seconds
    if line.perplexity < best?.perplexity ?? .infinity { best = (line.step, line.perplexity) }
  }

  /// Whether the process that trains is one of this host and is gone.
  private func hasVanished() -> Bool {
    guard let text = try? String(contentsOfFile: run.lockPath, encoding: .utf8) else { return false }
    let fields = Dictionary(
      text.split(whereSeparator: \.isWhitespace).compactMap { field -> (String, String)? in
        let parts = field.split(separator: "=", maxSplits: 1)
        return parts.count == 2 ? (String(parts[0]), String(parts[1])) : nil
      }, uniquingKeysWith: { $1 })
    guard fields["host"] == Host.name, let process = fields["pid"].flatMap({ pid_t($0) }), process > 0 else {
      return false
    }
    return kill(process, 0) == -1 && errno == ESRCH
  }
}

/// A clock that the reports of a run advance.
private final class TrainedTime: Sendable {
  let seconds = Mutex(0.0)

  var clock: ProgressClock { { [self] in .seconds(seconds.withLock { $0 }) } }
}
