import Platform
import Synchronization

/// What a rank is doing: what its program said last, and the operation its communication thread is in.
///
/// The other ranks hear of it once a second, and print it where this rank keeps them waiting.
public final class RankActivity: Sendable {
  private let record = Mutex(Record())

  struct Record {
    var text = "starting"
    var textSince = ContinuousClock.now
    /// After how many seconds of the same activity its own rank says so; nil: never.
    var warnSeconds: Double?
    var operation: CollectiveOperation?
    /// When the thread in `operation` last had MPI's answer.
    var lastSign = ContinuousClock.now
    /// After how many seconds without an answer that thread is lost.
    var abortSeconds: Double?
  }

  /// An activity that nobody has described yet.
  init() {}

  /// Says what the program does from now on; after `warnSeconds` of it the rank prints its own state.
  public func note(_ text: String, warnSeconds: Double? = nil) {
    record.withLock {
      ($0.text, $0.textSince, $0.warnSeconds) = (text, .now, warnSeconds)
    }
  }

  func begin(_ operation: CollectiveOperation, abortSeconds: Double?) {
    record.withLock {
      ($0.operation, $0.lastSign, $0.abortSeconds) = (operation, .now, abortSeconds)
    }
  }

  func sign() {
    record.withLock { $0.lastSign = .now }
  }

  func end() {
    record.withLock { $0.operation = nil }
  }

  /// What it is at this moment.
  var current: Record { record.withLock { $0 } }
}

extension RankActivity.Record: CustomStringConvertible {
  /// As in "step 12: forward and backward for 3.2 s, communication at step 12, decoder 1/3, reduce".
  var description: String {
    let seconds = ((ContinuousClock.now - textSince).inSeconds * 10).rounded() / 10
    return "\(text) for \(seconds) s" + (operation.map { ", communication at \($0)" } ?? "")
  }
}
