import Foundation
import Platform
import Synchronization

/// The progress of a stage of a command, such as counting tokens.
///
/// On a terminal a bar that is redrawn, elsewhere a line of `key=value` at most every five seconds; at the end a line with
/// the elapsed time. Any thread may call.
package final class StageProgress: Sendable {
  private let name: String
  private let total: Int
  private let unit: String
  private let output: TerminalOutput
  private let clock: ProgressClock
  private let state: Mutex<State>

  private struct State {
    var done = 0
    var lastReport: Duration
    var isFinished = false
  }

  /// The progress of `name` through `total` units, such as `lines`.
  package init(
    _ name: String, total: Int, unit: String, output: TerminalOutput = .standardError,
    clock: @escaping ProgressClock = startedClock()
  ) {
    self.name = name
    self.total = total
    self.unit = unit
    self.output = output
    self.clock = clock
    state = Mutex(State(lastReport: clock()))
  }

  package func advance(by count: Int) {
    report { $0 + count }
  }

  /// `done` units of the total are done.
  package func update(done: Int) {
    report { _ in done }
  }

  /// Ends the stage and writes its last line, once.
  package func finish() {
    state.withLock { state in
      guard !state.isFinished else { return }
      state.isFinished = true
      let seconds = clock().inSeconds
      if output.isTerminal {
        let time = Readable.duration(seconds: seconds)
        output.replaceLine(by: "\(name): \(Readable.count(Double(state.done))) \(unit) in \(time)")
      } else {
        output.writeLine(
          "stage=\(quotedWhereNeeded(name)) \(unit)=\(state.done) seconds=\(String(format: "%.3f", seconds))")
      }
    }
  }

  private func report(_ newCount: (Int) -> Int) {
    state.withLock { state in
      state.done = newCount(state.done)
      let now = clock()
      let interval: Duration = output.isTerminal ? .milliseconds(100) : .seconds(5)
      guard !state.isFinished, now - state.lastReport >= interval else { return }
      state.lastReport = now
      let rate = Double(state.done) / now.inSeconds
      if output.isTerminal {
        output.redrawLine(drawnLine(done: state.done, rate: rate))
      } else {
        let speed = String(format: "%.0f", rate)
        output.writeLine(
          "stage=\(quotedWhereNeeded(name)) \(unit)=\(state.done) of=\(total) perSecond=\(speed)")
      }
    }
  }

  private func drawnLine(done: Int, rate: Double) -> String {
    let fraction = Double(done) / Double(max(total, 1))
    let counts = "\(Readable.count(Double(done)))/\(Readable.count(Double(total))) \(unit)"
    let left = Readable.duration(seconds: Double(max(total - done, 0)) / rate)
    return "\(name): \(progressBar(fraction: fraction)) \(Readable.percent(fraction))  \(counts)  "
      + "\(Readable.count(rate)) \(unit)/s  \(left) left"
  }
}
