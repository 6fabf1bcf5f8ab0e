import Foundation
import Platform

/// A thread without MPI that looks after this rank's own state.
///
/// It prints where the program takes longer than it said, and ends the process where the communication thread does
/// not come back from MPI: `mpirun` then ends the others.
final class Watchdog: Sendable {
  private static let intervalMicroseconds: useconds_t = 500_000
  /// What a call into MPI may take beyond the limit that its thread would have noticed itself.
  private static let graceSeconds = 5.0

  private let label: String
  private let liveness: any Liveness

  init(label: String, liveness: any Liveness) {
    self.label = label
    self.liveness = liveness
  }

  /// Begins to watch, until the process ends.
  func start() {
    let thread = Thread { [self] in
      var lastRound = ContinuousClock.now
      var lastStop = ContinuousClock.now
      var warnedSince: ContinuousClock.Instant?
      while true {
        usleep(Self.intervalMicroseconds)
        let gap = (ContinuousClock.now - lastRound).inSeconds
        lastRound = .now
        // This process was stopped itself, which proves nothing of MPI: its threads get all their time anew.
        if gap > 2 { lastStop = lastRound }
        look(&warnedSince, since: lastStop)
      }
    }
    thread.name = "watchdog"
    thread.start()
  }

  private func look(_ warnedSince: inout ContinuousClock.Instant?, since lastStop: ContinuousClock.Instant) {
    let record = liveness.activity.current
    let now = ContinuousClock.now
    if let limit = record.warnSeconds, (now - record.textSince).inSeconds >= limit,
      warnedSince != record.textSince
    {
      warnedSince = record.textSince
      liveness.silenceLimits.warn("\(label): \(record)")
    }
    guard record.operation != nil, let limit = record.abortSeconds,
      (now - max(record.lastSign, lastStop)).inSeconds >= limit + Self.graceSeconds
    else { return }
    printLine("\(label): \(record): MPI does not answer; the limit is \(limit) s")
    fflush(nil)
    _exit(1)
  }
}
