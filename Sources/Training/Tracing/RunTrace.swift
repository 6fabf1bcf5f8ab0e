import Communication
import Foundation
import Logging
import Reporting

/// What the ranks did in chosen steps, for viewers of Chrome's trace events; rank 0 writes the files of all.
///
/// The first steps of a process are chosen, then ten of every doubling: the files grow with the logarithm of the run.
/// Events are kept for a few steps only, then sent to rank 0.
final class RunTrace {
  /// How many steps are traced before they become fewer.
  static let firstStepCount = 20
  private static let stepsPerDoubling = 10
  /// How many of the first steps are sent together.
  private static let stepsPerFlush = 5

  private let ranks: Ranks
  private let logger: Logger
  private let clock: TraceClock
  private let offset: ClockOffset
  /// On rank 0's clock, in nanoseconds: where the trace begins.
  private let zero: Int
  private let files: TraceFiles?
  private var stepCount = 0
  private var waitingStepCount = 0
  private var events: [TraceEvent] = []
  private var hasFailed = false

  /// Compares the ranks' clocks and empties the folder, which rank 0 alone has; all ranks call it.
  init(_ ranks: Ranks, folder: String, logger: Logger) throws {
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
        folder: folder, labels: (0..<ranks.rankCount).map { ranks.control.label(of: $0) })
    }
    if ranks.isCoordinator {
      logger.info(
        "tracing", metadata: ["folder": "\(folder)", "clockErrorMicroseconds": "\(Double(error) / 1000)"])
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

  /// Takes in what a traced step was, and its exchange.
  func end(_ step: StepTrace, _ exchange: ExchangeTrace?) {
    let whole = event(.training, "step \(step.step)", category: "step", step.start, .now)
    let stretches = step.stretches.map { stretch in
      event(
        .training, stretch.name, category: stretch.category.rawValue, stretch.start, stretch.end,
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
    events += [whole] + stretches + spans
    waitingStepCount += 1
  }

  /// Sends what waits to rank 0 if it is time; all ranks call it after the same step.
  func flushIfDue() throws {
    if waitingStepCount >= Self.stepsPerFlush || stepCount > Self.firstStepCount { try flush() }
  }

  /// Sends what waits to rank 0; all ranks call it after the same step.
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
      logger.error("the trace is not complete; training goes on", metadata: ["reason": "\(error)"])
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

/// Instants of this process as times that processes of one host agree on.
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
