/// The time passed since some start; a test brings its own.
public typealias ProgressClock = @Sendable () -> Duration

/// Time since this call, on a monotonic clock.
public func startedClock() -> ProgressClock {
  let start = ContinuousClock.now
  return { ContinuousClock.now - start }
}

extension Duration {
  /// The duration in seconds.
  public var inSeconds: Double { self / .seconds(1) }
}
