import Checkpoints
import Corpus
import Dispatch
import Evaluation
import Foundation
import LanguageModel
import Layers
import Logging
import Platform
import Reporting
import Synchronization
import Tensors

/// Background work of rank 0: writes checkpoints on one thread and scores the validation split on another,
/// so that neither waits for the other.
///
/// There is one evaluation at a time: that of a step takes effect before the next one begins.
final class Coordinator: Sendable {
  /// The next checkpoint is skipped where the previous one has been written for this long.
  private static let writeTimeoutSeconds = 10.0

  private let configuration: RunConfiguration
  private let storage: RunStorage
  private let stop: StopRequest
  private var store: CheckpointStore { storage.store }
  private var record: RunRecord { storage.record }
  /// The run of the checkpoint that this process began from.
  private let restoredRun: RunDirectory?
  private let validation: Validation?
  /// The engine of evaluations.
  private let engine: ComputeEngine?
  private let logger: Logger
  private let writing: JobThread
  private let evaluating: JobThread
  /// Entered while a snapshot is copied for an evaluation.
  private let copying = DispatchGroup()
  private let progress = Mutex(Progress())

  private struct Progress {
    var failedWriteCount = 0
    /// Checkpoints in a row that have failed.
    var failedCheckpointCount = 0
    var hasGivenUpWriting = false
    /// Perplexities that have not taken effect, by step.
    var perplexities: [Int: Double] = [:]
    var isEvaluationAbandoned = false
    /// Durations of the last checkpoint and the last evaluation.
    var checkpointSeconds: Double?
    var evaluationSeconds: Double?
    /// The error that ended an evaluation.
    var evaluationFailure: (any Error)?
  }

  /// The error of an abandoned evaluation.
  private struct Abandoned: Error {}

  /// A coordinator of a run; without a validation text nothing is evaluated.
  ///
  /// It makes a stop request where too many checkpoints in a row cannot be written.
  init(
    configuration: RunConfiguration, storage: RunStorage, validation: Validation?, stop: StopRequest,
    logger: Logger
  ) throws {
    self.configuration = configuration
    self.storage = storage
    self.stop = stop
    restoredRun = storage.checkpoint.map { RunDirectory(of: $0) }
    self.validation = validation
    self.logger = logger
    // On a rank without lanes nothing may slow down the thread that follows the exchange.
    let isDedicated = configuration.coordinator.placement == .dedicated
    writing = try JobThread(name: "checkpoints", hasLowestPriority: isDedicated)
    evaluating = try JobThread(name: "evaluation", hasLowestPriority: isDedicated)
    // On the thread that uses it, whose priority its threads get; no thread is started once training has begun.
    engine = try evaluating.start { try validation?.makeEngine() }.value()
    evaluating.submit { validation?.parameters.touch() }
  }

  /// Writes of checkpoints and metrics that have failed.
  var failedWriteCount: Int { progress.withLock { $0.failedWriteCount } }

  /// Whether as many checkpoints in a row have failed as the configuration allows.
  var hasGivenUpWriting: Bool { progress.withLock { $0.hasGivenUpWriting } }

  /// The time spent in the background so far.
  var work: BackgroundWork {
    BackgroundWork(checkpointSeconds: writing.busySeconds, evaluationSeconds: evaluating.busySeconds)
  }

  /// Seconds that evaluation and checkpoint will take after the last step, as they took before; nil before the first ones.
  var closingSeconds: Double? {
    progress.withLock { progress in
      guard let checkpoint = progress.checkpointSeconds else { return nil }
      let evaluates = validation != nil && configuration.coordinator.evaluateEvery > 0
      return evaluates ? progress.evaluationSeconds.map { $0 + checkpoint } : checkpoint
    }
  }

  /// Seconds by which an evaluation delays training: what the last one took or, before the first one, the time of the forward
  /// passes alone, a third of a step's, at rank 0's `tokensPerSecond`; 0 where rank 0 does not train.
  func evaluationSeconds(tokensPerSecond: Double) -> Double? {
    guard let validation else { return nil }
    guard configuration.coordinator.placement == .worker else { return 0 }
    let measured = progress.withLock { $0.evaluationSeconds }
    return measured
      ?? (tokensPerSecond > 0 ? Double(validation.tokenCount) / (3 * tokensPerSecond) : nil)
  }

  /// Runs a write; its failure, as on a full disk, is logged and counted, and training continues.
  @discardableResult
  private func attempt(_ what: String, _ body: () throws -> Void) -> Bool {
    do {
      try body()
      return true
    } catch {
      progress.withLock { $0.failedWriteCount += 1 }
      logger.error("could not \(what); training continues", metadata: ["reason": "\(error)"])
      return false
    }
  }

  /// The same for a checkpoint: many failures in a row stop the run, which would train for nothing.
  @discardableResult
  private func attemptCheckpoint(ofStep step: Int, _ body: () throws -> Void) -> Bool {
    let isWritten = attempt("write the checkpoint of step \(step)", body)
    let limit = configuration.coordinator.failedWrites
    let givesUp = progress.withLock {
      $0.failedCheckpointCount = isWritten ? 0 : $0.failedCheckpointCount + 1
      guard limit > 0, $0.failedCheckpointCount >= limit, !$0.hasGivenUpWriting else { return false }
      $0.hasGivenUpWriting = true
      return true
    }
    if givesUp {
      logger.error(
        "the run stops: as many checkpoints in a row failed as coordinator.failedWrites allows",
        metadata: ["failedWrites": "\(limit)"])
      stop.make()
    }
    return isWritten
  }
}

// MARK: - Checkpoints

extension Coordinator {
  /// Allocates the pages of a snapshot ahead of the first checkpoint.
  func prepare(_ snapshot: Snapshot) {
    writing.submit { snapshot.touch() }
  }

  /// Waits until the snapshot may be filled again; false, and logged, where the disk is so slow that this checkpoint is
  /// skipped.
  func canBeginCheckpoint(ofStep step: Int) -> Bool {
    copying.wait()
    if writing.waitUntilIdle(timeoutSeconds: Self.writeTimeoutSeconds) { return true }
    return attemptCheckpoint(ofStep: step) {
      throw MilmError("the previous checkpoint is still being written")
    }
  }

  /// Begins to write a snapshot, which is not filled again before the next checkpoint can begin.
  func write(_ snapshot: Snapshot) {
    // Lines that are appended from here on belong to later steps.
    let lineCount = record.trainingLineCount
    writing.submit { [self] in
      var state = snapshot.counters
      state.metricsLineCount = lineCount
      let isWritten = attemptCheckpoint(ofStep: state.step) {
        try snapshot.waitUntilComplete()
        try writeFiles(of: snapshot, state)
      }
      if isWritten { attempt("remove old checkpoints") { try prune(after: state) } }
      record.requestPage()
    }
  }

  private func writeFiles(of snapshot: Snapshot, _ counters: CheckpointState) throws {
    let start = ContinuousClock.now
    var state = counters
    if let pending = state.pendingEvaluation { state.pendingEvaluation?.perplexity = known(at: pending.step) }
    try storage.restoreDescription()
    // After a power failure the metrics reach at least as far as the checkpoint.
    try record.synchronize()
    try store.write(files: snapshot.files(configuration), state: state)
    let seconds = (ContinuousClock.now - start).inSeconds
    progress.withLock { $0.checkpointSeconds = seconds }
    logger.info(
      "checkpoint written",
      metadata: [
        "step": "\(state.step)",
        "time": "\(Readable.duration(seconds: seconds))",
        "toCopy": "\(String(format: "%.1f ms", 1000 * snapshot.copySeconds))",
      ])
  }

  private func prune(after state: CheckpointState) throws {
    // What a stop has written costs a run that continues none of the checkpoints that it may return to.
    guard isScheduled(state) else { return }
    // The previous one is kept until the next: it is the last good one if these parameters turn out to have diverged.
    let previous = try store.scheduledStep(before: state.step, isScheduled: isScheduled)
    try store.prune(
      keepLast: configuration.coordinator.keepLast,
      protecting: Set(
        [state.pendingEvaluation?.step, state.bestStep, state.best?.step, previous].compactMap { $0 }),
      isScheduled: isScheduled)
  }

  private func isScheduled(_ state: CheckpointState) -> Bool {
    state.isScheduled(configuration, evaluates: validation != nil)
  }

  /// Points `best` to the checkpoint of a step.
  func markBest(_ step: Int) {
    writing.submit { [self] in
      attempt("mark the best checkpoint") {
        if try store.list().contains(step) { try store.markBest(step) }
      }
    }
  }

  /// Waits until all snapshots so far are on the disk or have failed.
  func waitUntilWritten() {
    writing.waitUntilIdle()
  }

  /// Gives a checkpoint that is being written the time to be completed, but does not wait for a disk that hangs.
  func finishWriting() {
    _ = writing.waitUntilIdle(timeoutSeconds: Self.writeTimeoutSeconds)
  }
}

// MARK: - Evaluations

extension Coordinator {
  /// Starts evaluating the parameters of a step, which `fill` copies before this returns.
  func evaluate(step: Int, fill: (ParameterBuffer) throws -> Void) rethrows {
    guard let validation, let engine else { return }
    evaluating.waitUntilIdle()
    try fill(validation.parameters)
    evaluating.submit { [self] in score(validation, engine, step: step) }
  }

  /// Starts evaluating a snapshot, which is not filled again before the next checkpoint can begin.
  func evaluate(_ snapshot: Snapshot) {
    guard let validation, let engine else { return }
    let step = snapshot.counters.step
    copying.enter()
    evaluating.submit { [self] in
      let arrival = Result { try snapshot.waitUntilComplete() }
      if case .success = arrival { validation.parameters.copy(from: snapshot.parameters) }
      copying.leave()
      switch arrival {
      case .success: score(validation, engine, step: step)
      case .failure(let error): progress.withLock { $0.evaluationFailure = error }
      }
    }
  }

  /// Restarts the evaluation of an earlier step from its checkpoint; false, and logged, where that cannot be read.
  func restartEvaluation(ofStep step: Int) -> Bool {
    guard let restoredRun else { return false }
    do {
      let path = restoredRun.location(ofStep: step).path
      let checkpoint = try Checkpoint(directory: path)
      try checkpoint.verify()
      guard checkpoint.state.step == step else {
        throw MilmError("\(path): expected step \(step), found \(checkpoint.state.step)")
      }
      try evaluate(step: step) { try $0.load(from: checkpoint.tensors(.model)) }
      return true
    } catch {
      logger.warning(
        "the pending evaluation cannot be restarted and is skipped",
        metadata: ["step": "\(step)", "reason": "\(error)"])
      return false
    }
  }

  /// Why an evaluation has failed.
  var evaluationFailure: (any Error)? { progress.withLock { $0.evaluationFailure } }

  /// The perplexity of the evaluation of a step, waited for.
  func perplexity(at step: Int) throws -> Double {
    if known(at: step) == nil {
      logger.info("waiting for the evaluation", metadata: ["step": "\(step)"])
    }
    evaluating.waitUntilIdle()
    if let failure = evaluationFailure { throw failure }
    guard let perplexity = known(at: step) else {
      throw MilmError("no evaluation was begun at step \(step)")
    }
    return perplexity
  }

  /// Keeps the result of an evaluation by an earlier process.
  func keep(perplexity: Double, at step: Int) {
    progress.withLock { $0.perplexities[step] = perplexity }
  }

  /// Ends the current evaluation, if there is one, without a result.
  func abandonEvaluation() {
    progress.withLock { $0.isEvaluationAbandoned = true }
    evaluating.waitUntilIdle()
  }

  private func known(at step: Int) -> Double? {
    progress.withLock { $0.perplexities[step] }
  }

  private func score(_ validation: Validation, _ engine: ComputeEngine, step: Int) {
    do {
      let start = ContinuousClock.now
      let score = try validation.score(engine) {
        if progress.withLock({ $0.isEvaluationAbandoned }) { throw Abandoned() }
      }
      let seconds = (ContinuousClock.now - start).inSeconds
      progress.withLock { $0.evaluationSeconds = seconds }
      logger.info(
        "evaluated",
        metadata: [
          "step": "\(step)", "split": "valid", "streams": "\(validation.streamCount)",
          "perplexity": "\(score.perplexity)", "time": "\(Readable.duration(seconds: seconds))",
        ])
      // The line is written before a checkpoint can contain the result.
      attempt("append to the metrics") {
        try record.append(
          MetricsLine(
            .evaluation,
            [
              "step": .integer(step), "split": .text(Split.valid.rawValue),
              "perplexity": .number(score.perplexity), "nll": .number(score.nll),
              "tokens": .integer(score.tokenCount), "seconds": .number(seconds),
            ]))
      }
      keep(perplexity: score.perplexity, at: step)
    } catch is Abandoned {
      logger.info("evaluation postponed", metadata: ["step": "\(step)"])
    } catch {
      progress.withLock { $0.evaluationFailure = error }
    }
  }
}

/// The validation split, and the parameters that it is scored with.
struct Validation: Sendable {
  let parameters: ParameterBuffer
  let streamCount: Int
  private let tokens: TokenFile
  private let specialTokens: SpecialTokens
  private let model: LanguageModel
  private let threadCount: Int

  /// The validation split of a corpus.
  init(_ corpus: Corpus, model: LanguageModel, streamCount: Int, threadCount: Int) throws {
    parameters = ParameterBuffer(model.parameters)
    self.streamCount = streamCount
    tokens = try corpus.tokens(.valid)
    specialTokens = SpecialTokens(corpus.vocabulary)
    self.model = model
    self.threadCount = threadCount
  }

  /// Tokens of the split.
  var tokenCount: Int { tokens.count }

  /// An engine with threads of the calling one's priority.
  func makeEngine() throws -> ComputeEngine { try ComputeEngine(threadCount: threadCount) }

  /// The score of the whole split.
  ///
  /// `check` is called now and then, and ends the scoring by throwing.
  func score(_ engine: ComputeEngine, check: () throws -> Void) throws -> TextScore {
    try TextScorer(model: model, weights: parameters, engine: engine).score(
      tokens, method: ScoringMethod(reading: .streams(streamCount)), specialTokens: specialTokens,
      progress: { _ in try check() })
  }
}

/// The time that rank 0 has spent beside training.
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
