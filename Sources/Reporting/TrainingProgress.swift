import Foundation
import Platform
import Synchronization

/// How far a run is: on a terminal one line that is redrawn, elsewhere a line of `key=value` a report.
///
/// The time left is estimated from the steps this process has taken. Any thread may call.
public final class TrainingProgress: Sendable {
  private let firstStep: Int
  private let stepCount: Int
  private let output: TerminalOutput
  private let clock: ProgressClock
  private let state = Mutex(State())

  private struct State {
    var lastDrawing: Duration?
    /// Bytes that compression has saved this process.
    var savedByteCount = 0
  }

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
    let now = clock()
    let (isDue, savedByteCount) = state.withLock { state in
      state.savedByteCount += max(metrics.rawBytes - metrics.wireBytes, 0)
      let isSoon = state.lastDrawing.map { now - $0 < .milliseconds(100) } ?? false
      guard output.isTerminal, !isSoon || metrics.step >= stepCount else {
        return (false, state.savedByteCount)
      }
      state.lastDrawing = now
      return (true, state.savedByteCount)
    }
    if !output.isTerminal {
      output.writeLine(plainLine(metrics, savedByteCount))
    } else if isDue {
      output.redrawLine(drawnLine(metrics, savedByteCount))
    }
  }

  /// Ends the redrawn line, so that what is written next begins on a line of its own.
  public func finish() {
    let wasDrawn = state.withLock { state in
      defer { state.lastDrawing = nil }
      return state.lastDrawing != nil
    }
    if wasDrawn { output.write("\n") }
  }

  /// As many parts as the terminal's line has room for; what matters least is left out first.
  private func drawnLine(_ metrics: TrainingMetrics, _ savedByteCount: Int) -> String {
    let share = Double(metrics.step) / Double(max(stepCount, 1))
    var parts: [(importance: Int, text: String)] = [
      (1, progressBar(share: share)), (8, Readable.percent(share)), (3, "step \(metrics.step)/\(stepCount)"),
      (4, "loss " + String(format: "%.4f", metrics.loss)),
      (6, "perplexity " + String(format: "%.2f", metrics.perplexity)),
      (5, "\(Readable.count(metrics.tokensPerSecond)) tokens/s"),
    ]
    if let remaining = remainingSeconds(metrics.step) {
      parts.append((7, "\(Readable.duration(seconds: remaining)) left"))
    }
    if let ratio = metrics.compressionRatio {
      parts.append((2, "\(Readable.byteCount(savedByteCount)) saved (÷ \(String(format: "%.1f", ratio)))"))
    }
    func line() -> String { parts.map(\.text).joined(separator: "  ") }
    while parts.count > 1, line().count >= output.width(),
      let least = parts.indices.min(by: { parts[$0].importance < parts[$1].importance })
    {
      parts.remove(at: least)
    }
    return line()
  }

  private func plainLine(_ metrics: TrainingMetrics, _ savedByteCount: Int) -> String {
    let fields: [(String, String?)] = [
      ("step", "\(metrics.step)"), ("steps", "\(stepCount)"), ("epoch", nineDigits(metrics.epoch)),
      ("loss", nineDigits(metrics.loss)), ("perplexity", nineDigits(metrics.perplexity)),
      ("learningRate", nineDigits(metrics.learningRate)), ("gradientNorm", nineDigits(metrics.gradientNorm)),
      ("tokensPerSecond", String(format: "%.0f", metrics.tokensPerSecond)),
      ("exposedSeconds", String(format: "%.3f", metrics.exposedSeconds)),
      ("codec", metrics.codec), ("ratio", metrics.compressionRatio.map { String(format: "%.2f", $0) }),
      ("savedBytes", metrics.compressionRatio.map { _ in "\(savedByteCount)" }),
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
