import Platform

/// How long a rank waits for others without progress.
package struct StallLimits: Sendable {
  /// Seconds without progress until a warning names the stragglers.
  package let warnSeconds: Double
  /// Seconds without progress until the operation fails.
  package let abortSeconds: Double
  /// Prints the warning; called on the communication thread.
  package let warn: @Sendable (String) -> Void

  /// Limits that call `warn` at most once per operation.
  package init(warnSeconds: Double, abortSeconds: Double, warn: @escaping @Sendable (String) -> Void) {
    self.warnSeconds = warnSeconds
    self.abortSeconds = abortSeconds
    self.warn = warn
  }
}

/// Measures the time without progress in one operation; warns, then throws, when it exceeds the limits.
///
/// An operation without limits of its own waits for as long as the late ranks' heartbeat is received.
struct StallWatch {
  /// A gap between two checks beyond which this process was stopped itself; it does not count.
  private static let ownStopSeconds = 2.0
  private static let secondsBetweenChecks = 0.1

  private let limits: StallLimits?
  private let operation: MessageTag
  private let rank: Int
  private let label: (Int) -> String
  private let liveness: (any Liveness)?
  private var lastProgress = ContinuousClock.now
  private var lastCheck = ContinuousClock.now
  private var hasWarned = false

  init(
    _ limits: StallLimits?, operation: MessageTag, rank: Int, label: @escaping (Int) -> String,
    liveness: (any Liveness)? = nil
  ) {
    self.limits = limits
    self.operation = operation
    self.rank = rank
    self.label = label
    self.liveness = liveness
    liveness?.activity.begin(operation, abortSeconds: liveness?.heartbeatLimits.abortSeconds)
  }

  mutating func noteProgress() {
    lastProgress = .now
    lastCheck = lastProgress
    liveness?.activity.noteReturn()
  }

  /// Marks the end of the operation.
  func end() {
    liveness?.activity.end()
  }

  /// Warns once, then throws, when a limit is exceeded; `stragglers` is called only then.
  mutating func check(_ stragglers: () -> [Int]) throws(MilmError) {
    let gap = (ContinuousClock.now - lastCheck).inSeconds
    guard gap >= Self.secondsBetweenChecks else { return }
    lastCheck = .now
    if gap > Self.ownStopSeconds { lastProgress += .seconds(gap) }
    liveness?.activity.noteReturn()
    let seconds = (ContinuousClock.now - lastProgress).inSeconds
    if let limits, seconds >= limits.abortSeconds {
      throw MilmError("\(sentence(seconds, stragglers())); the limit is \(limits.abortSeconds) s")
    }
    try checkHeartbeats(seconds, stragglers)
    if limits == nil, let patience = liveness?.startTimeoutSeconds, seconds >= patience {
      throw MilmError("\(sentence(seconds, stragglers())); the limit of the start is \(patience) s")
    }
    guard let general = limits ?? liveness?.heartbeatLimits else { return }
    guard seconds >= general.warnSeconds && !hasWarned else { return }
    let late = stragglers()
    if limits == nil, let liveness, late.allSatisfy(liveness.isExpectedToLast) { return }
    hasWarned = true
    general.warn(sentence(seconds, late))
  }

  private func checkHeartbeats(_ seconds: Double, _ stragglers: () -> [Int]) throws(MilmError) {
    guard let liveness, seconds >= liveness.heartbeatLimits.abortSeconds / 2 else { return }
    let abortSeconds = liveness.heartbeatLimits.abortSeconds
    let unresponsive = stragglers().filter { liveness.secondsSinceHeartbeat(of: $0) >= abortSeconds }
    guard unresponsive.isEmpty else {
      throw MilmError(
        "\(sentence(seconds, unresponsive)), without a heartbeat; the limit is \(abortSeconds) s")
    }
  }

  private func sentence(_ seconds: Double, _ late: [Int]) -> String {
    let names = late.map { late in
      label(late) + (liveness.map { ", last known at \($0.lastState(of: late))" } ?? "")
    }.joined(separator: "; ")
    let tenths = (seconds * 10).rounded() / 10
    return
      "\(label(rank)) has waited \(tenths) s without progress at \(operation) for \(names)"
  }
}
