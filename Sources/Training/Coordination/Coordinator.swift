import Checkpoints
import Foundation
import Layers
import Logging
import Platform
import Reporting

/// What rank 0 does beside training: checkpoints and evaluations, each on a thread of its own,
/// so that a checkpoint never waits for an evaluation.
final class Coordinator: Sendable {
  /// What is to be done with the state of a step.
  struct Purpose: OptionSet, Sendable {
    let rawValue: Int
    static let checkpoint = Purpose(rawValue: 1)
    static let evaluation = Purpose(rawValue: 2)
  }

  private let writer: CheckpointWriter
  private let evaluation: BackgroundEvaluation?
  private let record: RunRecord
  private let attempts: WriteAttempts
  private let logger: Logger

  /// A coordinator of a run; without a validation text nothing is evaluated.
  init(
    configuration: RunConfiguration, storage: RunStorage, validation: ValidationText?, logger: Logger
  ) {
    let attempts = WriteAttempts(logger: logger)
    self.attempts = attempts
    self.logger = logger
    record = storage.record
    writer = CheckpointWriter(
      configuration: configuration, store: storage.store, attempts: attempts, logger: logger)
    evaluation = validation.map {
      BackgroundEvaluation(
        $0, givesWay: configuration.coordinator.placement == .dedicated, record: storage.record,
        attempts: attempts, logger: logger)
    }
    if let step = storage.checkpoint?.state.step, storage.isOwn { writer.recall(checkpointAt: step) }
  }

  /// How many writes have failed.
  var failedWriteCount: Int { attempts.failureCount }

  /// What threads in the background have done so far.
  var work: BackgroundWork {
    BackgroundWork(
      checkpointSeconds: writer.busySeconds, evaluationSeconds: evaluation?.busySeconds ?? 0)
  }

  /// Begins to take the memory of a snapshot that was not filled yet, so that no checkpoint has to.
  func prepare(_ snapshot: Snapshot) {
    writer.prepare(snapshot)
  }

  /// Waits for the checkpoint before, but not long; false, and said, where this one is better left out.
  func canBeginCheckpoint(ofStep step: Int) -> Bool {
    evaluation?.waitUntilCopied()
    return writer.isReady(forStep: step)
  }

  /// Begins to write a snapshot, which must not be filled again before the next one can begin.
  func write(_ snapshot: Snapshot) {
    // Training, which waits for this to return, does not wait for threads that are woken for a page.
    writer.write(snapshot, perplexity: { [evaluation] step in evaluation?.known(at: step) }) { [record] in
      record.requestPage()
    }
  }

  /// Waits until all snapshots given so far are on the disk or have failed.
  func waitUntilWritten() {
    writer.waitUntilIdle()
  }

  /// Gives a checkpoint under way the time to become whole: its state was good, whatever has happened since.
  func finishWriting() {
    writer.waitBriefly()
  }

  /// Begins to evaluate the parameters of a step, which `fill` copies before this returns.
  func evaluate(step: Int, fill: (ParameterBuffer) throws -> Void) rethrows {
    try evaluation?.begin(step: step, fill: fill)
  }

  /// Begins to evaluate a snapshot, which must not be filled again before the next checkpoint can begin.
  func evaluate(_ snapshot: Snapshot) {
    evaluation?.begin(snapshot)
  }

  /// Begins again the evaluation of a checkpoint; false, and said, where that checkpoint is not to be had.
  func evaluate(checkpoint path: String, step: Int) -> Bool {
    do {
      let checkpoint = try Checkpoint(directory: path)
      try checkpoint.verify()
      guard checkpoint.state.step == step else {
        throw MilmError("\(path): expected step \(step), found \(checkpoint.state.step)")
      }
      try evaluation?.begin(step: step) { try $0.load(from: checkpoint.tensors(.model)) }
      return true
    } catch {
      logger.warning(
        "an evaluation that was under way is lost", metadata: ["step": "\(step)", "reason": "\(error)"])
      return false
    }
  }

  /// The perplexity of the evaluation begun at `step`, waited for.
  func perplexity(at step: Int) throws -> Double {
    guard let evaluation else { throw MilmError("no evaluation was begun at step \(step)") }
    return try evaluation.perplexity(at: step)
  }

  /// Remembers the result of an evaluation that an earlier process made.
  func recall(perplexity: Double, at step: Int) {
    evaluation?.recall(perplexity: perplexity, at: step)
  }

  /// Ends the evaluation under way, if there is one, without a result: it will be made again.
  func abandonEvaluation() {
    evaluation?.abandon()
  }

  /// Points `best` to the checkpoint of a step.
  func markBest(_ step: Int) {
    writer.markBest(step)
  }
}

/// How long rank 0 has worked beside training.
struct BackgroundWork {
  /// Writing checkpoints.
  var checkpointSeconds = 0.0
  /// Evaluating.
  var evaluationSeconds = 0.0

  static func - (later: BackgroundWork, earlier: BackgroundWork) -> BackgroundWork {
    BackgroundWork(
      checkpointSeconds: later.checkpointSeconds - earlier.checkpointSeconds,
      evaluationSeconds: later.evaluationSeconds - earlier.evaluationSeconds)
  }
}
