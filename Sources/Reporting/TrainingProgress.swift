import Foundation
import Synchronization

/// How far a run is: on a terminal one line that is redrawn, elsewhere a line of `key=value` a report.
///
/// The time left is estimated from the steps this process has taken. Any thread may call.
public final class TrainingProgress: Sendable {
  private let firstStep: Int
  private let stepCount: Int
  private let output: TerminalOutput
  private let clock: ProgressClock
  private let lastDrawing = Mutex<Duration?>(nil)

  /// The progress of a run of `stepCount` steps of which `firstStep` were taken by earlier processes.
  public init(
    stepCount: Int, firstStep: Int = 0, output: TerminalOutput = .standardError,
    clock: @escaping ProgressClock = startedClock()
  ) {
    self.firstStep = firstStep
    self.stepCount = stepCount
    self.output = output
    self.clock = clock
  }

  /// Shows a report.
  public func update(_ metrics: TrainingMetrics) {
    guard output.isTerminal else { return output.writeLine(plainLine(metrics)) }
    let now = clock()
    let isDue = lastDrawing.withLock { last in
      if let last, now - last < .milliseconds(100), metrics.step < stepCount { return false }
      last = now
      return true
    }
    if isDue { output.redrawLine(drawnLine(metrics)) }
  }

  /// Ends the redrawn line, so that what is written next begins on a line of its own.
  public func finish() {
    let wasDrawn = lastDrawing.withLock { last in
      defer { last = nil }
      return last != nil
    }
    if wasDrawn { output.write("\n") }
  }

  private func drawnLine(_ metrics: TrainingMetrics) -> String {
    let share = Double(metrics.step) / Double(max(stepCount, 1))
    var parts = [
      "\(progressBar(share: share)) \(Readable.percent(share))",
      "step \(metrics.step)/\(stepCount)",
      "loss " + String(format: "%.4f", metrics.loss),
      "perplexity " + String(format: "%.2f", metrics.perplexity),
      "\(Readable.count(metrics.tokensPerSecond)) tokens/s",
    ]
    if let remaining = remainingSeconds(metrics.step) {
      parts.append("\(Readable.duration(seconds: remaining)) left")
    }
    if let ratio = metrics.compressionRatio {
      parts.append(String(format: "bytes ÷ %.1f", ratio))
    }
    return parts.joined(separator: "  ")
  }

  private func plainLine(_ metrics: TrainingMetrics) -> String {
    let fields: [(String, String?)] = [
      ("step", "\(metrics.step)"), ("steps", "\(stepCount)"), ("epoch", nineDigits(metrics.epoch)),
      ("loss", nineDigits(metrics.loss)), ("perplexity", nineDigits(metrics.perplexity)),
      ("learningRate", nineDigits(metrics.learningRate)), ("gradientNorm", nineDigits(metrics.gradientNorm)),
      ("tokensPerSecond", String(format: "%.0f", metrics.tokensPerSecond)),
      ("exposedSeconds", String(format: "%.3f", metrics.exposedSeconds)),
      ("codec", metrics.codec), ("ratio", metrics.compressionRatio.map { String(format: "%.2f", $0) }),
      ("skippedSteps", "\(metrics.skippedSteps)"),
      ("secondsLeft", remainingSeconds(metrics.step).map { String(format: "%.0f", $0) }),
    ]
    return fields.compactMap { name, value in value.map { "\(name)=\($0)" } }.joined(separator: " ")
  }

  private func remainingSeconds(_ step: Int) -> Double? {
    guard step > firstStep else { return nil }
    return clock().inSeconds / Double(step - firstStep) * Double(max(stepCount - step, 0))
  }
}
