import Corpus
import Dispatch
import Foundation
import LanguageModel
import Layers
import Logging
import Platform
import Reporting
import Synchronization
import Tensors

/// Scores the validation split with a copy of the parameters, on a thread of its own,
/// while training and checkpoints go on; it lives on rank 0 alone.
///
/// There is one evaluation at a time: that of a step takes effect before the next is begun.
final class BackgroundEvaluation: Sendable {
  private let validation: ValidationText
  private let parameters: ParameterBuffer
  private let record: RunRecord
  private let attempts: WriteAttempts
  private let logger: Logger
  private let thread: JobThread
  /// Entered while a snapshot is read.
  private let copying = DispatchGroup()
  private let results = Mutex(Results())

  private struct Results {
    /// Results that have not taken effect, by step.
    var perplexities: [Int: Double] = [:]
    var isAbandoned = false
    /// What ended an evaluation.
    var failure: (any Error)?
  }

  /// What an evaluation throws that nobody waits for any more.
  private struct Abandoned: Error {}

  /// An evaluation of the parameters of one model; one that gives way leaves the processor to whoever follows training.
  init(
    _ validation: ValidationText, givesWay: Bool, record: RunRecord, attempts: WriteAttempts,
    logger: Logger
  ) {
    self.validation = validation
    parameters = ParameterBuffer(validation.model.parameters)
    self.record = record
    self.attempts = attempts
    self.logger = logger
    thread = JobThread(name: "evaluation", hasLowestPriority: givesWay)
    thread.submit { [parameters] in parameters.touch() }
  }

  /// Begins to evaluate the parameters of a step, which `fill` copies before this returns.
  func begin(step: Int, fill: (ParameterBuffer) throws -> Void) rethrows {
    thread.waitUntilIdle()
    try fill(parameters)
    thread.submit { [self] in evaluate(step) }
  }

  /// Begins to evaluate a snapshot, which is read until `waitUntilCopied` returns: training need not wait for a second copy.
  func begin(_ snapshot: Snapshot) {
    let step = snapshot.state.step
    copying.enter()
    thread.submit { [self] in
      let arrived = Result { try snapshot.waitUntilWhole() }
      if case .success = arrived { parameters.copy(from: snapshot.parameters) }
      copying.leave()
      switch arrived {
      case .success: evaluate(step)
      case .failure(let error): results.withLock { $0.failure = error }
      }
    }
  }

  /// Waits until no snapshot is read any more.
  func waitUntilCopied() {
    copying.wait()
  }

  /// The perplexity of the evaluation begun at `step`, waited for.
  func perplexity(at step: Int) throws -> Double {
    if known(at: step) == nil {
      logger.info("waiting for the evaluation", metadata: ["step": "\(step)"])
    }
    thread.waitUntilIdle()
    if let failure = results.withLock({ $0.failure }) { throw failure }
    guard let perplexity = known(at: step) else {
      throw MilmError("no evaluation was begun at step \(step)")
    }
    return perplexity
  }

  /// How long it has evaluated so far.
  var busySeconds: Double { thread.busySeconds }

  /// The perplexity at `step` where it is there already.
  func known(at step: Int) -> Double? {
    results.withLock { $0.perplexities[step] }
  }

  /// Remembers the result of an evaluation that an earlier process made.
  func recall(perplexity: Double, at step: Int) {
    results.withLock { $0.perplexities[step] = perplexity }
  }

  /// Ends the evaluation under way, if there is one, without a result.
  func abandon() {
    results.withLock { $0.isAbandoned = true }
    thread.waitUntilIdle()
  }

  private func evaluate(_ step: Int) {
    do {
      try score(step)
    } catch is Abandoned {
      logger.info("evaluation left for later", metadata: ["step": "\(step)"])
    } catch {
      results.withLock { $0.failure = error }
    }
  }

  private func score(_ step: Int) throws {
    let clock = ContinuousClock()
    let start = clock.now
    let score = try validation.score(parameters) { _ in
      if results.withLock({ $0.isAbandoned }) { throw Abandoned() }
    }
    let seconds = (clock.now - start).inSeconds
    logger.info(
      "evaluated",
      metadata: [
        "step": "\(step)", "split": "valid", "streams": "\(validation.streamCount)",
        "perplexity": "\(score.perplexity)", "time": "\(Readable.duration(seconds: seconds))",
      ])
    // A checkpoint that knows the result counts on its line being there.
    attempts.attempt("append to the metrics") {
      try record.append(
        EvaluationMetrics(
          step: step, split: Split.valid.rawValue, perplexity: score.perplexity, nll: score.nll,
          tokens: score.tokenCount, seconds: seconds))
    }
    results.withLock { $0.perplexities[step] = score.perplexity }
  }
}

/// The validation split and what it takes to score it.
struct ValidationText: Sendable {
  let tokens: TokenFile
  let specialWords: SpecialWords
  let model: LanguageModel
  let streamCount: Int
  let threadCount: Int

  /// The score of the whole split, by threads of the calling one's priority; `progress` is called now and then, and may throw to end it.
  func score(_ parameters: ParameterBuffer, progress: (Int) throws -> Void) throws -> TextScore {
    let engine = ComputeEngine(threadCount: threadCount)
    return try TextScoring(model: model, weights: parameters, engine: engine).score(
      tokens, streamCount: streamCount, specialWords: specialWords, progress: progress)
  }
}
