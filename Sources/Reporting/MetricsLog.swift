import Foundation
import Platform
import Synchronization

/// The file `metrics.jsonl` of a run: one line of JSON a report.
///
/// A line is written whole, by one call, so that a reader never waits for the rest of it. Any thread may
/// append.
public final class MetricsLog: Sendable {
  private let file: Mutex<OpenFile>

  /// Opens the log of a run that begins (`step` is nil: lines that are there already are removed), or that
  /// continues from a checkpoint of `step`: lines of later steps, and what is no whole line of a report, are
  /// cut off.
  ///
  /// Lines of evaluations at `evaluationsBeforeStep` or later are cut off too: give the step of an evaluation
  /// that the continued run will do again. Throws `MilmError`.
  public init(path: String, keepingThroughStep step: Int?, evaluationsBeforeStep: Int? = nil) throws {
    let kept = try step.map { step in
      try keptLines(path, throughStep: step, evaluationsBeforeStep: evaluationsBeforeStep ?? .max)
    }
    try AtomicFile.write(kept ?? [], to: path)
    file = Mutex(try OpenFile.appending(path))
  }

  /// Appends a report of training; throws `MilmError`.
  public func append(_ metrics: TrainingMetrics) throws {
    try append(metrics.fields)
  }

  /// Appends the result of an evaluation; throws `MilmError`.
  public func append(_ metrics: EvaluationMetrics) throws {
    try append(metrics.fields)
  }

  private func append(_ fields: [(name: String, value: MetricValue)]) throws {
    let members = fields.map { "\"\($0.name)\":\($0.value.json)" }
    let line = Array("{\(members.joined(separator: ","))}\n".utf8)
    try file.withLock { try $0.append(line) }
  }
}

/// What a line must have to be placed in a run.
private struct LinePosition: Decodable {
  let step: Int
  let split: String?
}

/// The lines of a log up to a step, as they are; nothing where there is no log.
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
