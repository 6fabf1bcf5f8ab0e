import Foundation
import Platform
import Synchronization

/// The file `metrics.jsonl` of a run: one line of JSON per report.
///
/// Each line is written by one call, so that readers see whole lines only. Any thread may append.
package final class MetricsLog: Sendable {
  /// What a log was found to hold when it was opened.
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
    var finding = Finding()
    let kept = try step.map { step in
      try keptLines(path, throughStep: step, evaluationsBeforeStep: evaluationsBeforeStep ?? .max, &finding)
    }
    try AtomicFile.write(kept ?? [], to: path)
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
}

/// What places a line in a run.
private struct LinePosition: Decodable {
  let step: Int
  let split: String?
}

/// The lines of a log through a step, byte for byte; empty where there is no log.
private func keptLines(
  _ path: String, throughStep step: Int, evaluationsBeforeStep: Int, _ finding: inout MetricsLog.Finding
) throws -> [UInt8] {
  let content = Data(try regularFileContent(path) ?? [])
  let decoder = JSONDecoder()
  var kept: [UInt8] = []
  var rest = content[...]
  while let end = rest.firstIndex(of: UInt8(ascii: "\n")) {
    let line = rest[...end]
    rest = rest[(end + 1)...]
    guard let position = try? decoder.decode(LinePosition.self, from: line), position.step >= 0 else {
      finding.unreadableLineCount += 1
      continue
    }
    guard position.step <= step else { continue }
    if position.split != nil && position.step >= evaluationsBeforeStep { continue }
    if position.split == nil { finding.trainingLineCount += 1 }
    kept += line
  }
  if !rest.isEmpty { finding.unreadableLineCount += 1 }
  return kept
}
