import Foundation
import Platform

/// A thread without MPI that monitors this rank's own state.
///
/// It prints an activity that takes longer than announced, and ends the process where the communication thread does not
/// return from MPI: `mpirun` then ends the others.
final class Watchdog: Sendable {
  private static let intervalMicroseconds: useconds_t = 500_000
  /// Seconds a call into MPI may take beyond the limit that its own thread checks.
  private static let graceSeconds = 5.0

  private let label: String
  private let liveness: any Liveness

  init(label: String, liveness: any Liveness) {
    self.label = label
    self.liveness = liveness
  }

  /// Monitors until the process ends; throws where the system refuses a thread.
  func start() throws {
    _ = try SystemThread(name: "watchdog") { [self] in
      var lastRound = ContinuousClock.now
      var lastStop = ContinuousClock.now
      var warnedSince: ContinuousClock.Instant?
      while true {
        usleep(Self.intervalMicroseconds)
        let gap = (ContinuousClock.now - lastRound).inSeconds
        lastRound = .now
        // This process was stopped itself: the time does not count against its threads.
        if gap > 2 { lastStop = lastRound }
        check(&warnedSince, since: lastStop)
      }
    }
  }

  private func check(_ warnedSince: inout ContinuousClock.Instant?, since lastStop: ContinuousClock.Instant) {
    let record = liveness.activity.current
    let now = ContinuousClock.now
    if let limit = record.warnSeconds, (now - record.textSince).inSeconds >= limit,
      warnedSince != record.textSince
    {
      warnedSince = record.textSince
      liveness.heartbeatLimits.warn("\(label): \(record)")
    }
    guard record.operation != nil, let limit = record.abortSeconds,
      (now - max(record.lastReturn, lastStop)).inSeconds >= limit + Self.graceSeconds
    else { return }
    printLine("\(label): \(record): MPI does not return; the limit is \(limit) s")
    fflush(nil)
    _exit(1)
  }
}
