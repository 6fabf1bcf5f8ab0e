import Checkpoints
import Foundation
import Logging
import Platform
import Reporting
import Synchronization

/// Writes checkpoints from snapshots, on a thread of its own, while training goes on; it lives on rank 0 alone.
final class CheckpointWriter: Sendable {
  /// A write that takes longer than this is not waited for when the next checkpoint is due.
  private static let patienceSeconds = 10.0

  private let configuration: RunConfiguration
  private let store: CheckpointStore
  private let attempts: WriteAttempts
  private let logger: Logger
  private let thread: JobThread
  private let progress = Mutex(Progress())

  private struct Progress {
    /// The newest step whose checkpoint stands, and the one before it.
    var lastWrittenStep: Int?
    var stepWrittenBefore: Int?
  }

  /// A writer of a run's checkpoints.
  init(
    configuration: RunConfiguration, store: CheckpointStore, attempts: WriteAttempts, logger: Logger
  ) {
    self.configuration = configuration
    self.store = store
    self.attempts = attempts
    self.logger = logger
    thread = JobThread(
      name: "checkpoints", hasLowestPriority: configuration.coordinator.placement == .dedicated)
  }

  /// How long it has written so far.
  var busySeconds: Double { thread.busySeconds }

  /// Waits until the snapshot may be filled again; false, and said, where the disk is so slow that training had better
  /// go on without the checkpoint that is due.
  func isReady(forStep step: Int) -> Bool {
    if thread.waitUntilIdle(timeoutSeconds: Self.patienceSeconds) { return true }
    attempts.attempt("write the checkpoint of step \(step)") {
      throw MilmError("the one before is still being written")
    }
    return false
  }

  /// Begins to take the memory of a snapshot that was not filled yet; `isReady` waits for it.
  func prepare(_ snapshot: Snapshot) {
    thread.submit { snapshot.touch() }
  }

  /// Begins to write a snapshot, which must not be filled again before `isReady` or `waitUntilIdle` has said so.
  ///
  /// `perplexity` gives the result of the pending evaluation where it is known by the time of writing; `done` is called
  /// after the writing, even where it has failed.
  func write(
    _ snapshot: Snapshot, perplexity: @escaping @Sendable (_ step: Int) -> Double?,
    done: @escaping @Sendable () -> Void
  ) {
    thread.submit { [self] in
      attempts.attempt("write the checkpoint of step \(snapshot.state.step)") {
        try snapshot.waitUntilWhole()
        var state = snapshot.state
        if let pending = state.pendingEvaluation {
          state.pendingEvaluation?.perplexity = perplexity(pending.step)
        }
        try write(snapshot.files(configuration), state, copySeconds: snapshot.copySeconds)
      }
      done()
    }
  }

  /// Points `best` to the checkpoint of a step.
  func markBest(_ step: Int) {
    thread.submit { [self] in
      attempts.attempt("mark the best checkpoint") {
        if try store.list().contains(step) { try store.markBest(step) }
      }
    }
  }

  /// Waits for all work given so far.
  func waitUntilIdle() {
    thread.waitUntilIdle()
  }

  /// Waits for a write under way, but not for a disk that hangs.
  func waitBriefly() {
    _ = thread.waitUntilIdle(timeoutSeconds: Self.patienceSeconds)
  }

  /// Remembers the checkpoint that this process began from.
  func recall(checkpointAt step: Int) {
    progress.withLock { $0.lastWrittenStep = step }
  }

  private func write(_ files: [CheckpointFile], _ state: CheckpointState, copySeconds: Double) throws {
    let clock = ContinuousClock()
    let start = clock.now
    try store.write(files: files, state: state)
    progress.withLock {
      if $0.lastWrittenStep != state.step { $0.stepWrittenBefore = $0.lastWrittenStep }
      $0.lastWrittenStep = state.step
    }
    logger.info(
      "checkpoint written",
      metadata: [
        "step": "\(state.step)", "time": "\(Readable.duration(seconds: (clock.now - start).inSeconds))",
        "toCopy": "\(String(format: "%.1f ms", 1000 * copySeconds))",
      ])
    // The one before stays until the next: should this one's parameters prove ruined, it is the last good one.
    let before = progress.withLock { $0.stepWrittenBefore }
    try store.prune(
      keepLast: configuration.coordinator.keepLast,
      protecting: Set([state.pendingEvaluation?.step, before].compactMap { $0 }))
  }
}
