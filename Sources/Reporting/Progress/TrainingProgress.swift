import Foundation
import Platform
import Synchronization

/// The progress of a run: on a terminal one line that is redrawn, elsewhere a line of `key=value` per report.
///
/// The remaining time is estimated from the steps and evaluations of this process. Any thread may call.
package final class TrainingProgress: Sendable {
  private let stepCount: Int
  private let output: TerminalOutput
  private let clock: ProgressClock
  private let state: Mutex<State>

  private struct State {
    var lastDrawing: Duration?
    /// Bytes that compression has saved in this process.
    var savedByteCount = 0
    var remaining: RemainingTime
  }

  /// The progress of a run of `stepCount` steps, of which earlier processes took `firstStep`; `evaluateEvery` is 0 where
  /// nothing is evaluated.
  package init(
    stepCount: Int, firstStep: Int = 0, evaluateEvery: Int = 0, output: TerminalOutput = .standardError,
    clock: @escaping ProgressClock = startedClock()
  ) {
    self.stepCount = stepCount
    state = Mutex(
      State(
        remaining: RemainingTime(firstStep: firstStep, stepCount: stepCount, evaluateEvery: evaluateEvery)))
    self.output = output
    self.clock = clock
  }

  /// Shows a report of training.
  ///
  /// `closingSeconds` is the time that evaluation and checkpoint will take after the last step, `evaluationSeconds` the one
  /// by which each evaluation before it delays the run; nil where it is unknown.
  package func update(
    _ line: MetricsLine, closingSeconds: Double? = nil, evaluationSeconds: Double? = nil
  ) {
    let now = clock()
    let (isDue, savedByteCount, seconds) = state.withLock { state in
      state.remaining.add(
        step: line.step, at: now.inSeconds, isEvaluating: line.number("evaluationSeconds") > 0)
      let seconds = state.remaining.seconds(closing: closingSeconds, perEvaluation: evaluationSeconds)
      state.savedByteCount += max(line.integer("rawBytes") - line.integer("wireBytes"), 0)
      let isTooSoon = state.lastDrawing.map { now - $0 < .milliseconds(100) } ?? false
      guard output.isTerminal, !isTooSoon || line.step >= stepCount else {
        return (false, state.savedByteCount, seconds)
      }
      state.lastDrawing = now
      return (true, state.savedByteCount, seconds)
    }
    if !output.isTerminal {
      output.writeLine(plainLine(line, savedByteCount, seconds))
    } else if isDue {
      output.redrawLine(drawnLine(line, savedByteCount, seconds))
    }
  }

  /// Ends the redrawn line, so that later output begins on a line of its own.
  package func finish() {
    state.withLock { $0.lastDrawing = nil }
    output.endLine()
  }

  /// As many parts as fit into the terminal's width; the least important are left out first.
  private func drawnLine(
    _ line: MetricsLine, _ savedByteCount: Int, _ secondsLeft: Double?
  ) -> String {
    let fraction = Double(line.step) / Double(max(stepCount, 1))
    var parts: [(importance: Int, text: String)] = [
      (1, progressBar(fraction: fraction)), (8, Readable.percent(fraction)),
      (3, "step \(line.step)/\(stepCount)"), (4, "loss " + String(format: "%.4f", line.number("loss"))),
      (6, "perplexity " + String(format: "%.2f", line.perplexity)),
      (5, "\(Readable.count(line.number("tokensPerSecond"))) tokens/s"),
    ]
    if let secondsLeft {
      parts.append((7, "\(Readable.duration(seconds: secondsLeft)) left"))
    }
    if let ratio = line.compressionRatio {
      parts.append((2, "\(Readable.byteCount(savedByteCount)) saved (÷ \(String(format: "%.1f", ratio)))"))
    }
    func text() -> String { parts.map(\.text).joined(separator: "  ") }
    while parts.count > 1, text().count >= output.width(),
      let least = parts.indices.min(by: { parts[$0].importance < parts[$1].importance })
    {
      parts.remove(at: least)
    }
    return text()
  }

  /// The metrics that are shown, in the order of their table, with what this process alone knows between them.
  private func plainLine(
    _ line: MetricsLine, _ savedByteCount: Int, _ secondsLeft: Double?
  ) -> String {
    var fields = line.progressFields
    func insert(_ name: String, _ value: String, after key: String) {
      let index = fields.firstIndex { $0.name == key } ?? fields.count - 1
      fields.insert((name, value), at: index + 1)
    }
    insert("steps", "\(stepCount)", after: "step")
    if let ratio = line.compressionRatio {
      insert("savedBytes", "\(savedByteCount)", after: "codec")
      insert("ratio", String(format: "%.2f", ratio), after: "codec")
    }
    if let secondsLeft {
      fields.append(("secondsLeft", String(format: "%.0f", secondsLeft)))
    }
    return fields.map { "\($0.name)=\(visible($0.value))" }.joined(separator: " ")
  }
}
