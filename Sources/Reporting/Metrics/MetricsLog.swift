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
    let kept = try step.map { step in
      try keptLines(path, throughStep: step, evaluationsBeforeStep: evaluationsBeforeStep ?? .max)
    }
    try AtomicFile.write(kept ?? [], to: path)
    file = Mutex(try OpenFile.appending(path))
  }

  package func append(_ line: MetricsLine) throws {
    let bytes = Array("\(line.json)\n".utf8)
    try file.withLock { try $0.append(bytes) }
  }
}

/// What places a line in a run.
private struct LinePosition: Decodable {
  let step: Int
  let split: String?
}

/// The lines of a log through a step, byte for byte; empty where there is no log.
private func keptLines(_ path: String, throughStep step: Int, evaluationsBeforeStep: Int) throws -> [UInt8] {
  let content = Data(try regularFileContent(path) ?? [])
  let decoder = JSONDecoder()
  var kept: [UInt8] = []
  var rest = content[...]
  while let end = rest.firstIndex(of: UInt8(ascii: "\n")) {
    let line = rest[...end]
    rest = rest[(end + 1)...]
    guard let position = try? decoder.decode(LinePosition.self, from: line), position.step <= step else {
      continue
    }
    if position.split != nil && position.step >= evaluationsBeforeStep { continue }
    kept += line
  }
  return kept
}
