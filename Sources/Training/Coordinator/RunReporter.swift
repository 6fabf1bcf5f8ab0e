import Checkpoints
import Foundation
import Logging
import Platform
import Reporting

/// Sums steps up into lines of metrics and of progress, on rank 0.
final class RunReporter {
  private let record: RunRecord
  private let progress: TrainingProgress
  private let logger: Logger
  private let codec: () -> String
  private let work: () -> BackgroundWork
  private let closingSeconds: () -> Double?
  private let evaluationSeconds: (_ tokensPerSecond: Double) -> Double?
  private let tokensPerStep: Int
  private let reportEvery: Int
  private let segmentsPerEpoch: Int
  private var metrics = MetricsAccumulator()
  /// Whether writing a line has failed.
  private(set) var hasFailed = false
  private let clock = ContinuousClock()
  private var lastStep = ContinuousClock.now
  private var reportedWork = BackgroundWork()

  init(
    record: RunRecord, progress: TrainingProgress, logger: Logger, codec: @escaping () -> String,
    work: @escaping () -> BackgroundWork, closingSeconds: @escaping () -> Double?,
    evaluationSeconds: @escaping (_ tokensPerSecond: Double) -> Double?, configuration: RunConfiguration,
    segmentsPerEpoch: Int
  ) {
    self.record = record
    self.progress = progress
    self.logger = logger
    self.codec = codec
    self.work = work
    self.closingSeconds = closingSeconds
    self.evaluationSeconds = evaluationSeconds
    self.segmentsPerEpoch = segmentsPerEpoch
    tokensPerStep = configuration.tokensPerStep
    reportEvery = configuration.coordinator.reportEvery
  }

  /// Adds a step, and writes a line where one is due or the step `isLast`.
  ///
  /// Training was stalled for `stalledSeconds` before the step, by a snapshot, a disk or an evaluation.
  func add(_ report: StepReport, stalledSeconds: Double, _ counters: CheckpointState, isLast: Bool) {
    let now = clock.now
    metrics.add([
      "loss": .sum(report.agreed.loss, over: Double(tokensPerStep)),
      "learningRate": .number(report.agreed.learningRate),
      "gradientNorm": .number(report.agreed.gradientNorm),
      "tokensPerSecond": .sum(Double(tokensPerStep), over: (now - lastStep).inSeconds),
      "computeSeconds": .number(report.computeSeconds), "stalledSeconds": .number(stalledSeconds),
      "exchangeSeconds": .number(report.exchange.totalSeconds),
      "exposedSeconds": .number(report.exchange.exposedSeconds),
      "encodeSeconds": .number(report.exchange.encodeSeconds),
      "wireSeconds": .number(report.exchange.wireSeconds),
      "decodeSeconds": .number(report.exchange.decodeSeconds),
      "rawBytes": .integer(report.exchange.rawByteCount),
      "wireBytes": .integer(report.exchange.wireByteCount),
    ])
    lastStep = now
    guard counters.step % reportEvery == 0 || isLast else { return }
    let done = work()
    let newWork = done - reportedWork
    reportedWork = done
    metrics.add([
      "step": .integer(counters.step), "tokens": .integer(counters.tokenCount),
      "epoch": .number(Double(counters.segmentIndex) / Double(segmentsPerEpoch)),
      "checkpointSeconds": .number(newWork.checkpointSeconds),
      "evaluationSeconds": .number(newWork.evaluationSeconds), "codec": .text(codec()),
      "skippedSteps": .integer(counters.skippedStepCount),
    ])
    let line = metrics.finishLine()
    do {
      try record.append(line)
    } catch {
      // Reported once: a full disk would fill the terminal too.
      if !hasFailed {
        logger.error("metrics are incomplete; training continues", metadata: ["reason": "\(error)"])
      }
      hasFailed = true
    }
    progress.update(
      line, closingSeconds: closingSeconds(),
      evaluationSeconds: evaluationSeconds(line.tokensPerSecond))
  }

  /// Ends the line of progress.
  func finish() { progress.finish() }
}
