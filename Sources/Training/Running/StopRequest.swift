import Synchronization

/// The wish that a run end soon, with a checkpoint to go on from; it may be made from any thread.
///
/// The ranks tell each other of it in the sum of every step's loss, so all of them stop after the same step,
/// whichever heard of it first.
public final class StopRequest: Sendable {
  private let flag = Atomic(false)

  /// A wish that nobody has made yet.
  public init() {}

  /// Makes the wish; it cannot be taken back.
  public func make() {
    flag.store(true, ordering: .relaxed)
  }

  /// Whether it was made.
  public var isMade: Bool { flag.load(ordering: .relaxed) }
}
