import Communication
import Foundation
import Layers
import Logging
import Reporting
import Tensors

/// Trace of selected steps in the Chrome trace event format; rank 0 writes the files of all ranks.
///
/// The first steps of a process are selected, then ten of every doubling: the files grow logarithmically.
/// Events are sent to rank 0 every few steps.
package final class RunTrace {
  /// All of the first steps are traced.
  static let firstStepCount = 20
  private static let stepsPerDoubling = 10
  /// Steps per message to rank 0, among the first ones.
  private static let stepsPerFlush = 5

  private let ranks: Ranks
  private let logger: Logger
  private let clock: TraceClock
  private let offset: ClockOffset
  /// The beginning of the trace on rank 0's clock, in nanoseconds.
  private let zero: Int
  private let files: TraceFiles?
  private var stepCount = 0
  private var waitingStepCount = 0
  private var events: [TraceEvent] = []
  private var hasFailed = false

  /// Synchronizes the ranks' clocks and empties the directory on rank 0; all ranks call it.
  init(_ ranks: Ranks, directory: String, logger: Logger) throws {
    self.ranks = ranks
    self.logger = logger
    let clock = TraceClock()
    self.clock = clock
    offset = try ClockOffset.measure(over: ranks.control) { clock.nanoseconds(at: .now) }
    let now = ranks.isCoordinator ? UInt64(clock.nanoseconds(at: .now)) : 0
    zero = Int(try ranks.control.maximum("beginning of the trace", now))
    let error = try ranks.control.maximum("error of the clocks", UInt64(offset.errorNanoseconds))
    files = try ranks.onCoordinator("make the trace's files") {
      try TraceFiles(
        directory: directory, labels: (0..<ranks.rankCount).map { ranks.control.label(of: $0) })
    }
    if ranks.isCoordinator {
      logger.info(
        "tracing",
        metadata: ["directory": "\(directory)", "clockErrorMicroseconds": "\(Double(error) / 1000)"])
    }
  }

  /// Whether step number `index` of a process, from 0, is traced.
  static func isTraced(_ index: Int) -> Bool {
    guard index >= firstStepCount else { return true }
    var interval = firstStepCount / stepsPerDoubling
    while index >= 2 * stepsPerDoubling * interval { interval *= 2 }
    return index % interval == 0
  }

  /// Begins a step; nil where it is not traced.
  func begin(step: Int) -> StepTrace? {
    defer { stepCount += 1 }
    return Self.isTraced(stepCount) ? StepTrace(step: step) : nil
  }

  /// Adds the events of a traced step and of its exchange.
  func end(_ step: StepTrace, _ exchange: ExchangeTrace?) {
    let whole = event(.training, "step \(step.step)", category: "step", step.start, .now)
    let phases = step.phases.map { phase in
      event(
        .training, phase.name, category: phase.category.rawValue, phase.start, phase.end,
        details: [("step", .integer(step.step))])
    }
    let spans = (exchange?.spans ?? []).map { span in
      event(
        span.worker == .coding ? .coding : .communication, "\(span.work.rawValue) \(span.operation.name)",
        category: "exchange", span.start,
        span.end,
        details: [
          ("step", .integer(span.operation.step)), ("bucket", .integer(span.operation.index)),
          ("phase", .text("\(span.operation.phase)")), ("bytes", .integer(span.byteCount)),
        ])
    }
    events += [whole] + phases + spans
    waitingStepCount += 1
  }

  /// Sends events to rank 0 where it is time; all ranks call it after the same step.
  func flushIfDue() throws {
    if waitingStepCount >= Self.stepsPerFlush || stepCount > Self.firstStepCount { try flush() }
  }

  /// Sends all events to rank 0; all ranks call it after the same step.
  func flush() throws {
    guard waitingStepCount > 0 else { return }
    let gathered = try ranks.control.gather(
      "trace events", events.lines(rank: ranks.rank), to: Ranks.coordinator)
    events.removeAll(keepingCapacity: true)
    waitingStepCount = 0
    guard let files, !hasFailed else { return }
    do {
      for (rank, lines) in gathered.enumerated() { try files.append(lines, rank: rank) }
    } catch {
      hasFailed = true
      logger.error("the trace is incomplete; training continues", metadata: ["reason": "\(error)"])
    }
  }

  private func event(
    _ track: TraceEvent.Track, _ name: String, category: String, _ start: ContinuousClock.Instant,
    _ end: ContinuousClock.Instant, details: [(name: String, value: TraceEvent.Detail)] = []
  ) -> TraceEvent {
    let place = clock.nanoseconds(at: start) + offset.nanoseconds - zero
    return TraceEvent(
      track, name, category: category, start: .nanoseconds(place), duration: end - start, details: details)
  }
}

/// Phases of a traced step on the training thread of this rank, one after the other.
final class StepTrace {
  enum Category: String {
    case compute
    /// For other ranks.
    case wait
  }

  struct Phase {
    let name: String
    let category: Category
    let start: ContinuousClock.Instant
    let end: ContinuousClock.Instant
  }

  /// Counted from the beginning of the run.
  let step: Int
  let start = ContinuousClock.now
  private(set) var phases: [Phase] = []
  private var last: ContinuousClock.Instant

  init(step: Int) {
    self.step = step
    last = start
  }

  /// Ends a phase, which began at the end of the previous one.
  func end(_ name: String, _ category: Category = .compute) {
    let now = ContinuousClock.now
    phases.append(Phase(name: name, category: category, start: last, end: now))
    last = now
  }
}

/// A sink around another: ends a phase of the trace with each part of the gradient.
final class TracingSink: GradientSink {
  private let trace: StepTrace
  private let next: any GradientSink
  private var hasFinishedAny = false

  init(_ trace: StepTrace, before next: any GradientSink) {
    self.trace = trace
    self.next = next
  }

  func finish(_ range: GradientRange) throws {
    switch range.part {
    case .decoder where !hasFinishedAny: trace.end("forward, softmax and decoder backward")
    case _ where !hasFinishedAny: trace.end("forward, softmax backward")
    // A few numbers, finished with the last range of the matrix.
    case .softmaxBias: break
    default: trace.end("\(range.name) backward")
    }
    hasFinishedAny = true
    try next.finish(range)
  }

  func finish(rows: Matrix, of tokens: Vector<Int32>) throws {
    trace.end("input embedding backward")
    try next.finish(rows: rows, of: tokens)
  }
}

/// Converts instants of this process to a clock that all processes of a host share.
private struct TraceClock {
  private let instant: ContinuousClock.Instant
  private let nanoseconds: Int

  init() {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    instant = .now
    nanoseconds = time.tv_sec * 1_000_000_000 + time.tv_nsec
  }

  func nanoseconds(at other: ContinuousClock.Instant) -> Int {
    let (seconds, attoseconds) = (other - instant).components
    return nanoseconds + Int(seconds) * 1_000_000_000 + Int(attoseconds / 1_000_000_000)
  }
}
