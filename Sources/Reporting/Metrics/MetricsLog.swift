import Foundation
import Platform
import Synchronization

/// The file `metrics.jsonl` of a run: one line of JSON per report.
///
/// Each line is written by one call, so that readers see whole lines only. Any thread may append.
package final class MetricsLog: Sendable {
  private let file: Mutex<OpenFile>

  /// Opens the log of a new run (`step` is nil: existing lines are removed) or of one resumed from a checkpoint of `step`:
  /// later lines and incomplete ones are removed.
  ///
  /// Evaluations at `evaluationsBeforeStep` or later are removed too; give the step of a pending evaluation, which the
  /// resumed run repeats.
  package init(path: String, keepingThroughStep step: Int?, evaluationsBeforeStep: Int? = nil) throws {
    let content = try AtomicFile(path)
    if let step {
      try Self.copyLines(
        of: path, throughStep: step, evaluationsBeforeStep: evaluationsBeforeStep ?? .max, to: content)
    }
    try content.finish()
    file = Mutex(try OpenFile.appending(path))
  }

  package func append(_ line: MetricsLine) throws {
    let bytes = Array("\(line.json)\n".utf8)
    try file.withLock { try $0.append(bytes) }
  }

  /// Copies the lines of a log through a step, byte for byte; none where there is no log.
  private static func copyLines(
    of path: String, throughStep step: Int, evaluationsBeforeStep: Int, to copy: AtomicFile
  ) throws {
    var kept: [UInt8] = []
    try openIfPresent(path)?.forEachLine { line, isComplete in
      guard isComplete, let position = LinePosition(line), position.step <= step else { return }
      if position.isEvaluation && position.step >= evaluationsBeforeStep { return }
      kept.append(contentsOf: line)
      kept.append(UInt8(ascii: "\n"))
      guard kept.count >= 1 << 20 else { return }
      try kept.withUnsafeBytes { try copy.append($0) }
      kept.removeAll(keepingCapacity: true)
    }
    try kept.withUnsafeBytes { try copy.append($0) }
  }
}

/// What places a line in a run.
private struct LinePosition {
  let step: Int
  let isEvaluation: Bool

  init?(_ line: UnsafeRawBufferPointer) {
    guard let members = try? JSONReader.members(of: line, maximumDepth: 8),
      case .integer(let step)? = members.first(where: { $0.name == "step" })?.value
    else { return nil }
    self.step = step
    isEvaluation = members.contains { $0.name == "split" }
  }
}
