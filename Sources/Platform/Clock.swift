import Foundation

/// The time passed since some start; a test brings its own.
package typealias ProgressClock = @Sendable () -> Duration

/// Time since this call, on a monotonic clock.
package func startedClock() -> ProgressClock {
  let start = ContinuousClock.now
  return { ContinuousClock.now - start }
}

extension Duration {
  package var inSeconds: Double { self / .seconds(1) }
}

/// The processor time of this thread in seconds: time that other threads take does not count.
package var coreSeconds: Double {
  var time = timespec()
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
  return Double(time.tv_sec) + 1e-9 * Double(time.tv_nsec)
}
