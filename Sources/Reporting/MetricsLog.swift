import Foundation
import Synchronization

/// The file `metrics.jsonl` of a run: one line of JSON a report.
///
/// A line is written whole, by one call, so that a reader never waits for the rest of it. Any thread may
/// append.
public final class MetricsLog: Sendable {
  private let file: Mutex<AppendedFile>

  /// Opens the log of a run that begins (`step` is nil: lines that are there already are removed), or that
  /// continues from a checkpoint of `step`: lines of later steps, and what is no whole line of a report, are
  /// cut off.
  ///
  /// Lines of evaluations at `evaluationsBeforeStep` or later are cut off too: give the step of an evaluation
  /// that the continued run will do again. Throws `ReportingError`.
  public init(path: String, keepingThroughStep step: Int?, evaluationsBeforeStep: Int? = nil) throws {
    let kept = try step.map { step in
      try keptLines(path, throughStep: step, evaluationsBeforeStep: evaluationsBeforeStep ?? .max)
    }
    try replaceFile(path, with: kept ?? [])
    file = Mutex(try AppendedFile(path: path))
  }

  /// Appends a report of training; throws `ReportingError`.
  public func append(_ metrics: TrainingMetrics) throws {
    try append(metrics.fields)
  }

  /// Appends the result of an evaluation; throws `ReportingError`.
  public func append(_ metrics: EvaluationMetrics) throws {
    try append(metrics.fields)
  }

  private func append(_ fields: [(name: String, value: MetricValue)]) throws {
    let members = fields.map { "\"\($0.name)\":\($0.value.json)" }
    let line = Array("{\(members.joined(separator: ","))}\n".utf8)
    try file.withLock { try $0.append(line) }
  }
}

/// A file open for appending; closed when its owner lets go of it.
private struct AppendedFile: ~Copyable {
  private let descriptor: CInt
  private let path: String

  init(path: String) throws {
    let descriptor = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0o644)
    let code = errno
    guard descriptor != -1 else { throw ReportingError(path, cannot: "open", code: code) }
    self.descriptor = descriptor
    self.path = path
  }

  deinit {
    close(descriptor)
  }

  /// Appends all of `bytes` by one call or, on an error, nothing of it.
  func append(_ bytes: [UInt8]) throws {
    let end = lseek(descriptor, 0, SEEK_END)
    let count = write(descriptor, bytes, bytes.count)
    let code = errno
    guard count != bytes.count else { return }
    ftruncate(descriptor, end)
    throw ReportingError(path, cannot: "append", code: count == -1 ? code : ENOSPC)
  }

  /// Returns once the content is on the disk.
  func synchronize() throws {
    guard fsync(descriptor) == 0 else { throw ReportingError(path, cannot: "synchronize", code: errno) }
  }
}

/// What a line must have to be placed in a run.
private struct LinePosition: Decodable {
  let step: Int
  let split: String?
}

/// The lines of a log up to a step, as they are; nothing where there is no log.
private func keptLines(_ path: String, throughStep step: Int, evaluationsBeforeStep: Int) throws -> [UInt8] {
  let content = try regularFileContent(path)
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

/// What stands in a file, nothing where there is none; a link, a device or a pipe, which might never end, is refused.
private func regularFileContent(_ path: String) throws -> Data {
  let descriptor = open(path, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC)
  let code = errno
  guard descriptor != -1 else {
    if code == ENOENT { return Data() }
    throw ReportingError(path, cannot: "open", code: code)
  }
  let file = FileHandle(fileDescriptor: descriptor, closeOnDealloc: true)
  var status = stat()
  guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
    throw ReportingError(path, "expected a file, found a directory or a device")
  }
  do {
    return try file.readToEnd() ?? Data()
  } catch {
    throw ReportingError(path, "cannot read: \(error.localizedDescription)")
  }
}

/// Replaces a file's content: the old one or the new one is there at every instant.
private func replaceFile(_ path: String, with content: [UInt8]) throws {
  let temporary = "\(path).tmp-\(getpid())"
  unlink(temporary)
  do {
    let file = try AppendedFile(path: temporary)
    try file.append(content)
    try file.synchronize()
    guard rename(temporary, path) == 0 else {
      throw ReportingError(path, cannot: "replace", code: errno)
    }
  } catch {
    unlink(temporary)
    throw error
  }
}
