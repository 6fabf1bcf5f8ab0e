/// How long a rank waits for others that make no progress.
///
/// Only for operations that wait on computation; those that may wait on a disk have none.
public struct StallLimits: Sendable {
  /// Seconds without progress until one line names the late ranks.
  public let warnSeconds: Double
  /// Seconds without progress until the operation fails.
  public let abortSeconds: Double
  /// Gets the line, on the communication thread.
  public let warn: @Sendable (String) -> Void

  /// Limits that call `warn` once an operation, at most.
  public init(warnSeconds: Double, abortSeconds: Double, warn: @escaping @Sendable (String) -> Void) {
    self.warnSeconds = warnSeconds
    self.abortSeconds = abortSeconds
    self.warn = warn
  }
}

/// Measures the time without progress in one operation, and knows what to say when it is too long.
struct StallWatch {
  private let limits: StallLimits?
  private let operation: CollectiveOperation
  private let rank: Int
  private let hostNames: [String]
  private var lastProgress = ContinuousClock.now
  private var hasWarned = false

  init(_ limits: StallLimits?, operation: CollectiveOperation, rank: Int, hostNames: [String]) {
    self.limits = limits
    self.operation = operation
    self.rank = rank
    self.hostNames = hostNames
  }

  mutating func noteProgress() {
    lastProgress = .now
  }

  /// Warns once, then throws, when the limits are passed; `lateRanks` is asked only then.
  mutating func check(_ lateRanks: () -> [Int]) throws(CommunicationError) {
    guard let limits else { return }
    let seconds = (ContinuousClock.now - lastProgress).seconds
    if seconds >= limits.abortSeconds {
      throw CommunicationError("\(sentence(seconds, lateRanks())); the limit is \(limits.abortSeconds) s")
    }
    if seconds >= limits.warnSeconds && !hasWarned {
      hasWarned = true
      limits.warn(sentence(seconds, lateRanks()))
    }
  }

  private func sentence(_ seconds: Double, _ late: [Int]) -> String {
    let names = late.map { "rank \($0) (\(hostNames[$0]))" }.joined(separator: ", ")
    let tenths = (seconds * 10).rounded() / 10
    return
      "rank \(rank) (\(hostNames[rank])) has waited \(tenths) s without progress for \(names) at \(operation)"
  }
}

extension Duration {
  /// The duration in seconds.
  var seconds: Double {
    Double(components.seconds) + Double(components.attoseconds) * 1e-18
  }
}
