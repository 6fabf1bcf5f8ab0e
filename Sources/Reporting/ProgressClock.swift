import Foundation

/// Tells how much time has passed since some beginning; a test brings its own.
public typealias ProgressClock = @Sendable () -> Duration

/// Time since this call on a clock that never jumps.
public func startedClock() -> ProgressClock {
  let start = ContinuousClock.now
  return { ContinuousClock.now - start }
}

extension Duration {
  /// The duration in seconds.
  public var inSeconds: Double { self / .seconds(1) }
}
