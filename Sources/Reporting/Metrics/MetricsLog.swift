import Foundation
import Platform
import Synchronization

/// The file `metrics.jsonl` of a run: one line of JSON per report.
///
/// Each line is written by one call, so that readers see whole lines only. Any thread may append.
package final class MetricsLog: Sendable {
  /// Content of a log when it is opened.
  package struct Finding: Sendable, Equatable {
    /// Lines of training that were kept.
    package var trainingLineCount = 0
    /// Lines that are none, such as the zeros that a power failure leaves in a file.
    package var unreadableLineCount = 0
  }

  package let finding: Finding
  private let path: String
  private let state: Mutex<State>

  private struct State: ~Copyable {
    var file: OpenFile
    var trainingLineCount: Int
  }

  /// Opens the log of a new run (`step` is nil: existing lines are removed) or of one resumed from a checkpoint of `step`:
  /// later lines and incomplete ones are removed.
  ///
  /// Evaluations at `evaluationsBeforeStep` or later are removed too; give the step of a pending evaluation, which the
  /// resumed run repeats.
  package init(path: String, keepingThroughStep step: Int?, evaluationsBeforeStep: Int? = nil) throws {
    let content = try AtomicFile(path)
    var finding = Finding()
    if let step {
      try Self.copyLines(
        of: path, throughStep: step, evaluationsBeforeStep: evaluationsBeforeStep ?? .max, to: content,
        &finding)
    }
    try content.finish()
    self.path = path
    self.finding = finding
    state = Mutex(
      State(file: try OpenFile.appending(path), trainingLineCount: finding.trainingLineCount))
  }

  /// Lines of training through the last one.
  package var trainingLineCount: Int { state.withLock { $0.trainingLineCount } }

  package func append(_ line: MetricsLine) throws {
    let bytes = Array("\(line.json)\n".utf8)
    try state.withLock { state in
      if try state.file.isUnlinked() {
        // Its directory has vanished, and is made again as that of the checkpoints is.
        try makeDirectories(parentDirectory(of: path))
        state.file = try OpenFile.appending(path)
      }
      try state.file.append(bytes)
      if line.split == nil { state.trainingLineCount += 1 }
    }
  }

  /// Returns once all lines so far are on disk.
  package func synchronize() throws {
    try state.withLock { try $0.file.synchronize() }
  }

  /// Copies the lines of a log through a step, byte for byte; none where there is no log.
  private static func copyLines(
    of path: String, throughStep step: Int, evaluationsBeforeStep: Int, to copy: AtomicFile,
    _ finding: inout Finding
  ) throws {
    var kept: [UInt8] = []
    try openIfPresent(path)?.forEachLine { line, isComplete in
      guard isComplete, let position = LinePosition(line), position.step >= 0 else {
        finding.unreadableLineCount += 1
        return
      }
      guard position.step <= step else { return }
      if position.isEvaluation && position.step >= evaluationsBeforeStep { return }
      if !position.isEvaluation { finding.trainingLineCount += 1 }
      kept.append(contentsOf: line)
      kept.append(UInt8(ascii: "\n"))
      guard kept.count >= 1 << 20 else { return }
      try kept.withUnsafeBytes { try copy.append($0) }
      kept.removeAll(keepingCapacity: true)
    }
    try kept.withUnsafeBytes { try copy.append($0) }
  }
}

/// Position of a line in a run.
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
