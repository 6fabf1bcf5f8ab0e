import Foundation
import Platform
import Synchronization

/// The record of a run for people and their tools, kept while it trains: `metrics.jsonl`, TensorBoard events and
/// `report.html`.
///
/// Any thread may append. The page is drawn on its own thread, after an evaluation and otherwise from time to time.
package final class RunRecord: Sendable {
  /// The interval after which a report of training redraws the page.
  private static let secondsBetweenPages = 30.0

  private let files: RunFiles
  private let title: String
  private let configuration: String
  private let log: MetricsLog
  private let state: Mutex<State>
  private let drawing: JobThread

  private struct State: ~Copyable {
    var history: RunHistory
    let events: EventFile
    var sessions: OpenFile
    var lastPage = ContinuousClock.now
    /// Whether the page is queued and its drawing has not begun.
    var isPageDue = false
  }

  /// Opens the record of a new run (`step` is nil: an existing record is removed), or of one resumed from a checkpoint of
  /// `step`, as `MetricsLog` does.
  ///
  /// `title` and `configuration` are shown on the page; `table` names the metrics of training.
  package init(
    _ files: RunFiles, title: String, configuration: String, keepingThroughStep step: Int?,
    evaluationsBeforeStep: Int? = nil, table: MetricTable = .training
  ) throws {
    self.files = files
    self.title = title
    self.configuration = configuration
    drawing = try JobThread(name: "report")
    log = try MetricsLog(
      path: files.metrics, keepingThroughStep: step, evaluationsBeforeStep: evaluationsBeforeStep)
    if step == nil { try AtomicFile.write("", to: files.sessions) }
    let events = try Self.events(files, step, evaluationsBeforeStep, table)
    state = Mutex(
      State(
        history: try files.history(table), events: events, sessions: try OpenFile.appending(files.sessions)))
  }

  /// The events of this process, beginning with those that `metrics.jsonl` keeps though the new file expires them.
  private static func events(
    _ files: RunFiles, _ step: Int?, _ evaluationsBeforeStep: Int?, _ table: MetricTable
  ) throws -> EventFile {
    let firstStep = step.map { min($0 + 1, evaluationsBeforeStep ?? .max) } ?? 0
    let events = try EventFile(directory: files.events, expiringFromStep: firstStep)
    guard let step, firstStep <= step else { return events }
    try files.forEachMetricsLine(table) { line in
      guard line.split == nil, line.step >= firstStep else { return }
      try events.append(step: line.step, line.scalars)
    }
    return events
  }

  /// Lines of training in the metrics so far.
  package var trainingLineCount: Int { log.trainingLineCount }

  /// Returns once the metrics so far are on disk.
  package func synchronize() throws { try log.synchronize() }

  /// The defect of the metrics of a resumed run, whose number of training lines the checkpoint records; nil where there is
  /// none.
  package func defect(expectingLines count: Int?) -> String? {
    let found = log.finding
    let missing = count.map { $0 - found.trainingLineCount } ?? 0
    let parts = [
      missing > 0
        ? "expected \(count ?? 0) lines of training through the checkpoint, found \(found.trainingLineCount)"
        : nil,
      found.unreadableLineCount > 0 ? "removed \(found.unreadableLineCount) that cannot be read" : nil,
    ].compactMap { $0 }
    return parts.isEmpty ? nil : "\(files.metrics): \(parts.joined(separator: "; "))"
  }

  /// Records that a process begins to train.
  package func begin(_ session: RunSession) throws {
    let line = Array("\(try jsonLine(session))\n".utf8)
    try state.withLock {
      try $0.sessions.append(line)
      $0.history.begin(session)
    }
  }

  /// Records how the process has ended.
  package func end(_ end: RunEnd) throws {
    let line = Array("\(try jsonLine(end))\n".utf8)
    try state.withLock { try $0.sessions.append(line) }
  }

  /// Appends a report of training or the result of an evaluation.
  package func append(_ line: MetricsLine) throws {
    try log.append(line)
    let isPageDue = try state.withLock {
      $0.history.add(line)
      try $0.events.append(step: line.step, line.scalars)
      return line.split != nil || $0.lastPage.duration(to: .now).inSeconds >= Self.secondsBetweenPages
    }
    if isPageDue { requestPage() }
  }

  /// Draws the final page.
  package func finish() throws {
    try drawing.start { [self] in try drawPage() }.value()
  }

  /// Queues a drawing of the page; its failure is ignored, as `finish` draws the page again.
  package func requestPage() {
    let wasDue = state.withLock { state in
      defer { state.isPageDue = true }
      return state.isPageDue
    }
    guard !wasDue else { return }
    drawing.submit { [self] in try? drawPage() }
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

/// The paths of a run's record.
package struct RunFiles: Sendable {
  package let metrics: String
  /// One line of JSON per process that trained.
  package let sessions: String
  /// The directory that TensorBoard opens.
  package let events: String
  package let page: String
  /// One line of JSON per evaluation of a split after training, as `metrics.jsonl` has them.
  package let evaluations: String

  package init(metrics: String, sessions: String, events: String, page: String, evaluations: String) {
    self.metrics = metrics
    self.sessions = sessions
    self.events = events
    self.page = page
    self.evaluations = evaluations
  }

  /// Draws the page of a run from its files, at `path` (default: its place in the run).
  package func drawPage(title: String, configuration: String, at path: String? = nil) throws {
    let page = ReportPage(try history(), title: title, configuration: configuration, time: Date())
    if let path {
      try AtomicFile.write(page.html, toOutput: path, beginning: HTMLPage.beginning)
    } else {
      try AtomicFile.write(page.html, to: self.page)
    }
  }

  /// The run's metrics and sessions; unreadable lines are skipped.
  func history(_ table: MetricTable = .training) throws -> RunHistory {
    var history = RunHistory()
    var sessions: [RunSession] = []
    try forEachSession { session in
      sessions.removeAll { $0.step > session.step }
      sessions.append(session)
    }
    try forEachMetricsLine(table) { line in
      while let session = sessions.first, history.precedes(session, line) {
        history.begin(session)
        sessions.removeFirst()
      }
      history.add(line)
    }
    for session in sessions { history.begin(session) }
    return history
  }

  /// The newest step in metrics and sessions; 0 if there is none.
  package func newestStep() throws -> Int {
    var newest = 0
    try forEachMetricsLine(.training) { newest = max(newest, $0.step) }
    try forEachSession { newest = max(newest, $0.step) }
    return newest
  }

  /// The last process that trained, and how it has ended; the end is nil while it trains, and where it was killed.
  package func lastSession() throws -> (session: RunSession, end: RunEnd?)? {
    var last: (session: RunSession, end: RunEnd?)?
    try forEachSession {
      last = ($0, nil)
    } onEnd: {
      last?.end = $0
    }
    return last
  }

  /// Calls `body` with every line of `sessions.jsonl` that a run may have written, and `onEnd` with every end.
  private func forEachSession(
    _ body: (RunSession) throws -> Void, onEnd: (RunEnd) throws -> Void = { _ in }
  ) throws {
    let decoder = JSONDecoder()
    try openIfPresent(sessions)?.forEachLine { line, _ in
      let line = Data(line)
      if let session = try? decoder.decode(RunSession.self, from: line) {
        if session.isPlausible { try body(session) }
      } else if let end = try? decoder.decode(RunEnd.self, from: line) {
        try onEnd(end)
      }
    }
  }

  /// Records the perplexity of a checkpoint on a split, found after training.
  package func append(evaluation line: MetricsLine) throws {
    try OpenFile.appending(evaluations).append(Array("\(line.json)\n".utf8))
  }

  /// The evaluations of a split after training, in their order.
  func evaluations(ofSplit split: String) throws -> [MetricsLine] {
    var lines: [MetricsLine] = []
    try Self.forEachLine(of: evaluations, .training) { if $0.split == split { lines.append($0) } }
    return lines
  }

  private static func forEachLine(
    of path: String, _ table: MetricTable, _ body: (MetricsLine) throws -> Void
  ) throws {
    try openIfPresent(path)?.forEachLine { bytes, _ in
      if let line = MetricsLine(bytes, training: table) { try body(line) }
    }
  }

  /// Calls `body` with every line of `metrics.jsonl` that can be read; memory does not grow with their number.
  fileprivate func forEachMetricsLine(_ table: MetricTable, _ body: (MetricsLine) throws -> Void) throws {
    try Self.forEachLine(of: metrics, table, body)
  }
}
