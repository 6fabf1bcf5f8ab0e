import Checkpoints
import Corpus
import Foundation
import LanguageModel
import Layers
import Logging
import Reporting
import Synchronization
import Tensors

/// Writes checkpoints and evaluates the validation split from snapshots,
/// on a thread of its own, while training goes on.
///
/// It lives on rank 0 alone. Work is done in the order in which it was given,
/// so a checkpoint knows the result of every evaluation begun before it.
final class Coordinator: Sendable {
  /// What is to be done with a snapshot.
  struct Purpose: OptionSet, Sendable {
    let rawValue: Int
    static let checkpoint = Purpose(rawValue: 1)
    static let evaluation = Purpose(rawValue: 2)
    /// To write a checkpoint where the evaluation is the best so far and there is none of its step.
    static let keepingBest = Purpose(rawValue: 4)
  }

  private let configuration: RunConfiguration
  private let store: CheckpointStore
  private let metrics: MetricsLog
  private let logger: Logger
  private let validation: ValidationText?
  private let queue = DispatchQueue(label: "coordinator", qos: .utility)
  private let results = Mutex(Results())

  private struct Results {
    /// Results of evaluations that have not taken effect, by step.
    var perplexities: [Int: Double] = [:]
    /// Steps whose checkpoint stands.
    var writtenSteps: Set<Int> = []
    /// The newest of them, and the one before it.
    var lastWrittenStep: Int?
    var stepWrittenBefore: Int?
    var failedWriteCount = 0
    /// What ended the work; every later call throws it.
    var failure: (any Error)?
  }

  /// A coordinator of a run; without a validation text nothing is evaluated.
  init(
    configuration: RunConfiguration, store: CheckpointStore, metrics: MetricsLog, validation: ValidationText?,
    logger: Logger
  ) {
    self.configuration = configuration
    self.store = store
    self.metrics = metrics
    self.validation = validation
    self.logger = logger
  }

  /// How many checkpoints could not be written.
  var failedWriteCount: Int { results.withLock { $0.failedWriteCount } }

  /// Where the newest checkpoint before a step lies that this process has written or begun from.
  func checkpointPath(before step: Int) -> String? {
    results.withLock { results in
      [results.lastWrittenStep, results.stepWrittenBefore].compactMap { $0 }.filter { $0 < step }.max()
    }.map { store.run.location(ofStep: $0).path }
  }

  /// Begins to work on a snapshot, which must not be filled again before `waitUntilIdle` has returned.
  func begin(_ snapshot: Snapshot, _ purpose: Purpose) {
    queue.async { [self] in
      do {
        if purpose.contains(.checkpoint) { write(snapshot) }
        if purpose.contains(.evaluation) {
          let isBest = try evaluate(snapshot)
          if isBest && purpose.contains(.keepingBest) { keep(snapshot) }
        }
      } catch {
        results.withLock { $0.failure = error }
      }
    }
  }

  /// Waits for all work given so far; throws what ended it.
  func waitUntilIdle() throws {
    queue.sync {}
    if let failure = results.withLock({ $0.failure }) { throw failure }
  }

  /// The perplexity of the evaluation begun at `step`, waited for.
  func perplexity(at step: Int) throws -> Double {
    if results.withLock({ $0.perplexities[step] == nil }) {
      logger.info("waiting for the evaluation", metadata: ["step": "\(step)"])
    }
    try waitUntilIdle()
    guard let perplexity = results.withLock({ $0.perplexities[step] }) else {
      throw TrainingError("no evaluation was begun at step \(step)")
    }
    return perplexity
  }

  /// Remembers the checkpoint that this process began from.
  func recall(checkpointAt step: Int) {
    results.withLock {
      $0.writtenSteps.insert(step)
      $0.lastWrittenStep = step
    }
  }

  /// Remembers the result of an evaluation that an earlier process made.
  func recall(perplexity: Double, at step: Int) {
    results.withLock { $0.perplexities[step] = perplexity }
  }

  /// Points `best` to the checkpoint of a step.
  func markBest(_ step: Int) {
    queue.async { [self] in
      attempt("mark the best checkpoint") {
        if try store.list().contains(step) { try store.markBest(step) }
      }
    }
  }

  /// Runs what may fail for want of disk: training goes on, the failure is loud and counted.
  private func attempt(_ what: String, _ body: () throws -> Void) {
    do {
      try body()
    } catch {
      results.withLock { $0.failedWriteCount += 1 }
      logger.error("could not \(what); training goes on", metadata: ["reason": "\(error)"])
    }
  }

  private func keep(_ snapshot: Snapshot) {
    guard !results.withLock({ $0.writtenSteps.contains(snapshot.state.step) }) else { return }
    write(snapshot)
  }

  private func write(_ snapshot: Snapshot) {
    var state = snapshot.state
    if let pending = state.pendingEvaluation {
      state.pendingEvaluation?.perplexity = results.withLock { $0.perplexities[pending.step] }
    }
    let files = snapshot.files(configuration)
    attempt("write the checkpoint of step \(state.step)") {
      let clock = ContinuousClock()
      let start = clock.now
      try store.write(files: files, state: state)
      results.withLock {
        $0.writtenSteps.insert(state.step)
        if $0.lastWrittenStep != state.step { $0.stepWrittenBefore = $0.lastWrittenStep }
        $0.lastWrittenStep = state.step
      }
      logger.info(
        "checkpoint written",
        metadata: [
          "step": "\(state.step)", "time": "\(Readable.duration(seconds: (clock.now - start).inSeconds))",
        ])
      // The one before stays until the next: should this one's parameters prove ruined, it is the last good one.
      let before = results.withLock { $0.stepWrittenBefore }
      try store.prune(
        keepLast: configuration.coordinator.keepLast,
        protecting: Set([state.pendingEvaluation?.step, before].compactMap { $0 }))
    }
  }

  /// Scores the validation split; returns whether no earlier evaluation was better.
  private func evaluate(_ snapshot: Snapshot) throws -> Bool {
    guard let validation else { return false }
    let clock = ContinuousClock()
    let start = clock.now
    let step = snapshot.state.step
    let score = try validation.score(snapshot.parameters)
    let seconds = (clock.now - start).inSeconds
    results.withLock { $0.perplexities[step] = score.perplexity }
    logger.info(
      "evaluated",
      metadata: [
        "step": "\(step)", "split": "valid", "streams": "\(validation.streamCount)",
        "perplexity": "\(score.perplexity)",
        "time": "\(Readable.duration(seconds: seconds))",
      ])
    attempt("append to the metrics") {
      try metrics.append(
        EvaluationMetrics(
          step: step, split: Split.valid.rawValue, perplexity: score.perplexity, nll: score.nll,
          tokens: score.tokenCount, seconds: seconds))
    }
    return score.perplexity < snapshot.state.bestPerplexity ?? .infinity
  }
}

/// The validation split and what it takes to score it.
struct ValidationText: Sendable {
  let tokens: TokenFile
  let specialWords: SpecialWords
  let model: LanguageModel
  let streamCount: Int
  let engine: ComputeEngine

  func score(_ parameters: ParameterBuffer) throws -> TextScore {
    try TextScoring(model: model, weights: parameters, engine: engine).score(
      tokens, streamCount: streamCount, specialWords: specialWords)
  }
}
