import Foundation

/// Polling without taking a core from the threads that compute.
///
/// Open MPI moves data only inside its calls, so waiting means polling: without a pause at first, then a few polls between
/// sleeps. A thread that sleeps gets its core back when the time is over; one that yields waits for the end of a computing
/// thread's time slice, which is milliseconds.
struct WaitPace {
  private static let busyTime = Duration.microseconds(50)
  private static let pollsPerSleep = 4
  private static let shortestSleep: Double = 50  // microseconds
  private static let longestSleep: Double = 200

  private var start = ContinuousClock.now
  private var pollCount = 0
  private var sleepMicroseconds = WaitPace.shortestSleep

  /// Polls without pauses again, after progress.
  mutating func reset() {
    self = WaitPace()
  }

  /// Call after a poll without progress; true after a sleep, when there is time to check a timeout.
  mutating func pause() -> Bool {
    if pollCount == 0, ContinuousClock.now - start < Self.busyTime { return false }
    pollCount += 1
    guard pollCount % Self.pollsPerSleep == 0 else { return false }
    usleep(useconds_t(sleepMicroseconds))
    sleepMicroseconds = min(sleepMicroseconds * 1.25, Self.longestSleep)
    return true
  }
}
