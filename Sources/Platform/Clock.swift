/// The time passed since some start; a test brings its own.
package typealias ProgressClock = @Sendable () -> Duration

/// Time since this call, on a monotonic clock.
package func startedClock() -> ProgressClock {
  let start = ContinuousClock.now
  return { ContinuousClock.now - start }
}

extension Duration {
  /// The duration in seconds.
  package var inSeconds: Double { self / .seconds(1) }
}
