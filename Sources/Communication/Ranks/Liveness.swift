import Platform
import Synchronization

/// Activity of a rank: the one its program noted last, and the operation of its communication thread.
///
/// Heartbeats carry it to the other ranks, which print it when this rank stalls them.
package final class RankActivity: Sendable {
  private let record = Mutex(Record())

  struct Record {
    var text = "starting"
    var textSince = ContinuousClock.now
    /// Seconds of the same activity after which its own rank prints it; nil: never.
    var warnSeconds: Double?
    /// Whether the activity takes long though all is well.
    var isExpectedToLast = false
    var operation: MessageTag?
    /// When a call into MPI by the thread in `operation` last returned.
    var lastReturn = ContinuousClock.now
    /// Seconds without a return after which that thread hangs.
    var abortSeconds: Double?
  }

  /// The activity of a rank that starts.
  init() {}

  /// Notes what the program does from now on; after `warnSeconds` of it the rank prints its own state.
  ///
  /// Other ranks wait without a warning for an activity that `isExpectedToLast`.
  package func note(_ text: String, warnSeconds: Double? = nil, isExpectedToLast: Bool = false) {
    record.withLock {
      ($0.text, $0.textSince, $0.warnSeconds) = (text, .now, warnSeconds)
      $0.isExpectedToLast = isExpectedToLast
    }
  }

  func begin(_ operation: MessageTag, abortSeconds: Double?) {
    record.withLock {
      ($0.operation, $0.lastReturn, $0.abortSeconds) = (operation, .now, abortSeconds)
    }
  }

  func noteReturn() {
    record.withLock { $0.lastReturn = .now }
  }

  func end() {
    record.withLock { $0.operation = nil }
  }

  /// The current activity.
  var current: Record { record.withLock { $0 } }
}

extension RankActivity.Record: CustomStringConvertible {
  /// As in "step 12: forward and backward for 3.2 s, communication at step 12, decoder 1/3, reduce".
  var description: String {
    let seconds = ((ContinuousClock.now - textSince).inSeconds * 10).rounded() / 10
    return "\(text) for \(seconds) s" + (operation.map { ", communication at \($0)" } ?? "")
  }
}

/// Heartbeats of all ranks: when each was last received, and the activity it carried.
package protocol Liveness: AnyObject, Sendable {
  /// Seconds since the last heartbeat of a rank.
  func secondsSinceHeartbeat(of rank: Int) -> Double
  /// The activity that heartbeat carried.
  func lastState(of rank: Int) -> String
  /// Whether that activity takes long though all is well.
  func isExpectedToLast(_ rank: Int) -> Bool
  /// The activity of this rank, sent with its heartbeats.
  var activity: RankActivity { get }
  /// How long any operation waits for ranks without a heartbeat.
  var heartbeatLimits: StallLimits { get }
  func setHeartbeatLimits(_ limits: StallLimits)
  /// Seconds an operation without limits of its own waits for ranks whose heartbeat is received.
  var startTimeoutSeconds: Double { get }
  /// From now on ranks wait without limit for those whose heartbeat is received.
  func endStartTimeout()
}

/// Heartbeats of the subset of ranks that a communicator was split into.
final class SubsetLiveness: Liveness {
  private let base: any Liveness
  private let ranks: [Int]

  /// Rank r of the subset is rank `ranks[r]` of `base`.
  init(_ base: any Liveness, ranks: [Int]) {
    self.base = base
    self.ranks = ranks
  }

  func secondsSinceHeartbeat(of rank: Int) -> Double { base.secondsSinceHeartbeat(of: ranks[rank]) }
  func lastState(of rank: Int) -> String { base.lastState(of: ranks[rank]) }
  func isExpectedToLast(_ rank: Int) -> Bool { base.isExpectedToLast(ranks[rank]) }
  var activity: RankActivity { base.activity }
  var heartbeatLimits: StallLimits { base.heartbeatLimits }
  func setHeartbeatLimits(_ limits: StallLimits) { base.setHeartbeatLimits(limits) }
  var startTimeoutSeconds: Double { base.startTimeoutSeconds }
  func endStartTimeout() { base.endStartTimeout() }
}
