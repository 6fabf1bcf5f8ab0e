import Foundation
import Logging
import Reporting

/// Sums steps up into lines of metrics and of progress, on rank 0.
final class RunReporter {
  private let record: RunRecord
  private let progress: TrainingProgress
  private let logger: Logger
  private let codec: () -> String
  private let work: () -> BackgroundWork
  private let tokensPerStep: Int
  private let reportEvery: Int
  private var steps: [StepReport] = []
  /// Whether writing a line has failed.
  private(set) var hasFailed = false
  private let clock = ContinuousClock()
  private var lastReport = ContinuousClock.now
  private var reportedWork = BackgroundWork()

  init(
    record: RunRecord, progress: TrainingProgress, logger: Logger, codec: @escaping () -> String,
    work: @escaping () -> BackgroundWork, tokensPerStep: Int, reportEvery: Int
  ) {
    self.record = record
    self.progress = progress
    self.logger = logger
    self.codec = codec
    self.work = work
    self.tokensPerStep = tokensPerStep
    self.reportEvery = reportEvery
  }

  /// Adds a step, and writes a line where one is due or the step `isLast`.
  func add(
    _ report: StepReport, step: Int, epoch: Double, tokenCount: Int, skippedStepCount: Int, isLast: Bool
  ) {
    steps.append(report)
    guard step % reportEvery == 0 || isLast else { return }
    let done = work()
    let metrics = summary(
      step: step, epoch: epoch, tokenCount: tokenCount, skippedStepCount: skippedStepCount,
      newWork: done - reportedWork)
    steps.removeAll(keepingCapacity: true)
    lastReport = clock.now
    reportedWork = done
    do {
      try record.append(metrics)
    } catch {
      // Reported once: a full disk would fill the terminal too.
      if !hasFailed {
        logger.error("metrics are not complete; training goes on", metadata: ["reason": "\(error)"])
      }
      hasFailed = true
    }
    progress.update(metrics)
  }

  /// Logs a skipped step and the reason.
  func warn(step: Int, skippedBecauseOf reason: String) {
    logger.warning("a step was skipped", metadata: ["step": "\(step)", "reason": "\(reason)"])
  }

  /// Ends the line of progress.
  func finish() { progress.finish() }

  private func summary(
    step: Int, epoch: Double, tokenCount: Int, skippedStepCount: Int, newWork: BackgroundWork
  ) -> TrainingMetrics {
    func sum(_ value: (StepReport) -> Double) -> Double { steps.reduce(0) { $0 + value($1) } }
    // The loss of a skipped step may not be finite; skipped steps are counted instead.
    let losses = steps.map(\.loss).filter(\.isFinite)
    let loss = losses.reduce(0, +) / Double(losses.count * tokensPerStep)
    let last = steps[steps.count - 1]
    return TrainingMetrics(
      step: step, tokens: tokenCount, epoch: epoch, loss: loss, perplexity: exp(loss),
      learningRate: last.learningRate, gradientNorm: last.gradientNorm,
      tokensPerSecond: Double(steps.count * tokensPerStep) / (clock.now - lastReport).inSeconds,
      computeSeconds: sum(\.computeSeconds), exchangeSeconds: sum(\.exchange.totalSeconds),
      exposedSeconds: sum(\.exchange.exposedSeconds), encodeSeconds: sum(\.exchange.encodeSeconds),
      wireSeconds: sum(\.exchange.wireSeconds), decodeSeconds: sum(\.exchange.decodeSeconds),
      stalledSeconds: sum(\.stalledSeconds), checkpointSeconds: newWork.checkpointSeconds,
      evaluationSeconds: newWork.evaluationSeconds,
      rawBytes: steps.reduce(0) { $0 + $1.exchange.rawByteCount },
      wireBytes: steps.reduce(0) { $0 + $1.exchange.wireByteCount }, codec: codec(),
      skippedSteps: skippedStepCount)
  }
}
