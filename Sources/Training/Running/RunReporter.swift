import Foundation
import Logging
import Reporting

/// Adds up steps into the lines of the run's record and of the terminal; it lives on rank 0 alone.
final class RunReporter {
  private let record: RunRecord
  private let progress: TrainingProgress
  private let logger: Logger
  private let codec: () -> String
  private let work: () -> BackgroundWork
  private let tokensPerStep: Int
  private let reportEvery: Int
  private var metrics = MetricsAccumulator()
  private var hasFailed = false
  private let clock = ContinuousClock()
  private var lastStep = ContinuousClock.now
  private var reportedWork = BackgroundWork()

  /// A reporter of a run that sees `tokensPerStep` words a step.
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

  /// Whether a line could not be written.
  var failed: Bool { hasFailed }

  /// Takes a step in, and reports when a line is due or `isLast`.
  func add(
    _ report: StepReport, step: Int, epoch: Double, tokenCount: Int, skippedStepCount: Int, isLast: Bool
  ) {
    let now = clock.now
    metrics.add([
      "loss": .sum(report.loss, over: Double(tokensPerStep)), "learningRate": .number(report.learningRate),
      "gradientNorm": .number(report.gradientNorm),
      "tokensPerSecond": .sum(Double(tokensPerStep), over: (now - lastStep).inSeconds),
      "computeSeconds": .number(report.computeSeconds), "stalledSeconds": .number(report.stalledSeconds),
      "exchangeSeconds": .number(report.exchange.totalSeconds),
      "exposedSeconds": .number(report.exchange.exposedSeconds),
      "encodeSeconds": .number(report.exchange.encodeSeconds),
      "wireSeconds": .number(report.exchange.wireSeconds),
      "decodeSeconds": .number(report.exchange.decodeSeconds),
      "rawBytes": .integer(report.exchange.rawByteCount),
      "wireBytes": .integer(report.exchange.wireByteCount),
    ])
    lastStep = now
    guard step % reportEvery == 0 || isLast else { return }
    let done = work()
    let newWork = done - reportedWork
    reportedWork = done
    metrics.add([
      "step": .integer(step), "tokens": .integer(tokenCount), "epoch": .number(epoch),
      "checkpointSeconds": .number(newWork.checkpointSeconds),
      "evaluationSeconds": .number(newWork.evaluationSeconds), "codec": .text(codec()),
      "skippedSteps": .integer(skippedStepCount),
    ])
    let line = metrics.finishLine()
    do {
      try record.append(line)
    } catch {
      // Said once, because a full disk would fill the terminal too.
      if !hasFailed {
        logger.error("metrics are not complete; training goes on", metadata: ["reason": "\(error)"])
      }
      hasFailed = true
    }
    progress.update(line)
  }

  /// Says that a step was skipped, and why.
  func warn(step: Int, skippedBecauseOf reason: String) {
    logger.warning("a step was skipped", metadata: ["step": "\(step)", "reason": "\(reason)"])
  }

  /// Ends the terminal's line.
  func finish() { progress.finish() }
}
