import Dispatch
import Foundation
import Platform
import Synchronization

/// All that a run tells the world while it goes on: `metrics.jsonl`, TensorBoard's events and `report.html`.
///
/// Any thread may append. The page is drawn on a thread of its own, after an evaluation and otherwise now and then.
public final class RunRecord: Sendable {
  /// After how many seconds a report of training draws the page again.
  private static let secondsBetweenPages = 30.0

  private let files: RunFiles
  private let title: String
  private let configuration: String
  private let log: MetricsLog
  private let state: Mutex<State>
  private let queue = DispatchQueue(label: "report", qos: .utility)

  private struct State: ~Copyable {
    var history: RunHistory
    let events: EventFile
    var sessions: OpenFile
    var lastPage = ContinuousClock.now
    /// Whether a page is to be drawn that has not been begun.
    var isPageDue = false
  }

  /// Opens the record of a run that begins (`step` is nil: what is there is removed), or that continues from a
  /// checkpoint of `step`, as `MetricsLog` does.
  ///
  /// `title` and `configuration` are shown on the page. Throws `MilmError`.
  public init(
    _ files: RunFiles, title: String, configuration: String, keepingThroughStep step: Int?,
    evaluationsBeforeStep: Int? = nil
  ) throws {
    self.files = files
    self.title = title
    self.configuration = configuration
    log = try MetricsLog(
      path: files.metrics, keepingThroughStep: step, evaluationsBeforeStep: evaluationsBeforeStep)
    if step == nil { try AtomicFile.write("", to: files.sessions) }
    let events = try Self.events(files, step, evaluationsBeforeStep)
    state = Mutex(
      State(
        history: try files.history(), events: events, sessions: try OpenFile.appending(files.sessions)))
  }

  /// The events of this process: what is left of `metrics.jsonl` and was just declared void is told again.
  private static func events(
    _ files: RunFiles, _ step: Int?, _ evaluationsBeforeStep: Int?
  ) throws -> EventFile {
    let firstStep = step.map { min($0 + 1, evaluationsBeforeStep ?? .max) } ?? 0
    let events = try EventFile(folder: files.events, expiringFromStep: firstStep)
    guard let step, firstStep <= step else { return events }
    for line in try lines(of: files.metrics, as: MetricsLine.self) {
      if let training = line.training, training.step >= firstStep {
        try events.append(step: training.step, training.scalars)
      }
    }
    return events
  }

  /// Notes that a process begins to train; throws `MilmError`.
  public func begin(_ session: RunSession) throws {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    let line = Array(try encoder.encode(session)) + [UInt8(ascii: "\n")]
    try state.withLock {
      try $0.sessions.append(line)
      $0.history.begin(session)
    }
  }

  /// Appends a report of training; throws `MilmError`.
  public func append(_ metrics: TrainingMetrics) throws {
    try log.append(metrics)
    let isPageDue = try state.withLock {
      $0.history.add(metrics)
      try $0.events.append(step: metrics.step, metrics.scalars)
      return $0.lastPage.duration(to: .now).inSeconds >= Self.secondsBetweenPages
    }
    if isPageDue { requestPage() }
  }

  /// Appends the result of an evaluation; throws `MilmError`.
  public func append(_ metrics: EvaluationMetrics) throws {
    try log.append(metrics)
    try state.withLock {
      $0.history.add(metrics)
      try $0.events.append(step: metrics.step, metrics.scalars)
    }
    requestPage()
  }

  /// Draws the page as it stays; throws `MilmError`.
  public func finish() throws {
    try queue.sync { try drawPage() }
  }

  /// Has the page drawn soon; a failure is left to the next time, the last of which is `finish`.
  public func requestPage() {
    let wasDue = state.withLock { state in
      defer { state.isPageDue = true }
      return state.isPageDue
    }
    guard !wasDue else { return }
    queue.async { [self] in try? drawPage() }
  }

  private func drawPage() throws {
    let history = state.withLock {
      $0.isPageDue = false
      $0.lastPage = .now
      return $0.history
    }
    let page = ReportPage(history, title: title, configuration: configuration, time: Date())
    try AtomicFile.write(page.html, to: files.page)
  }
}

extension RunFiles {
  /// Draws the page of a run from its files, at `path` or else in its place; throws `MilmError`.
  public func drawPage(title: String, configuration: String, at path: String? = nil) throws {
    let page = ReportPage(try history(), title: title, configuration: configuration, time: Date())
    try AtomicFile.write(page.html, to: path ?? self.page)
  }
}
