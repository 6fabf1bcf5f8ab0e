import Foundation
import Platform

/// The layout of a run's directory, RUN.
public struct RunDirectory: Sendable, Equatable {
  /// The directory itself.
  public let path: String

  /// The run at `path`; nothing is looked at or created.
  public init(path: String) {
    self.path = path
  }

  /// What was run, as YAML.
  public var configurationPath: String { "\(path)/config.yaml" }
  /// The words of the model, one a line, so that a run can be evaluated on any text.
  public var vocabularyPath: String { "\(path)/vocabulary.txt" }
  /// The file that is locked while a job trains.
  public var lockPath: String { "\(path)/lock" }
  /// One line of JSON a report.
  public var metricsPath: String { "\(path)/metrics.jsonl" }
  /// One line of JSON a process that trained.
  public var sessionsPath: String { "\(path)/sessions.jsonl" }
  /// Curves and summary, a page.
  public var reportPath: String { "\(path)/report.html" }
  /// The files that TensorBoard opens.
  public var tensorboardPath: String { "\(path)/tensorboard" }
  /// Events of traced steps, a file a rank.
  public var tracePath: String { "\(path)/trace" }
  /// The directory of the checkpoints and of the links to them.
  public var checkpointsPath: String { "\(path)/checkpoints" }

  /// Makes the directory and those above it, and `checkpoints` in it; what is there already stays.
  ///
  /// Throws `MilmError`, also where `checkpoints` is anything but a directory of this run.
  public func create() throws {
    try makeDirectories(path)
    if case .absent = try FileEntry(at: checkpointsPath) {
      try makeDirectories(checkpointsPath)
    }
    try requireOwnCheckpoints()
  }

  /// Removes the temporary files that a killed process left beside the run's files.
  func removeLeftovers() throws {
    try AtomicFile.removeLeftovers(in: path)
  }

  /// Whether a run was begun here: its configuration or a checkpoint is there.
  public func holdsRun() throws -> Bool {
    if case .absent = try FileEntry(at: configurationPath) {
      return try !checkpointSteps().isEmpty
    }
    return true
  }

  /// Replaces `config.yaml`: the old one or the new one is there at every instant.
  public func writeConfiguration(_ yaml: String) throws {
    try AtomicFile.write(yaml, to: configurationPath)
  }

  /// The steps of the complete checkpoints, rising; none where there is no run yet.
  public func checkpointSteps() throws -> [Int] {
    if case .absent = try FileEntry(at: checkpointsPath) { return [] }
    try requireOwnCheckpoints()
    return try directoryEntries(checkpointsPath).compactMap { name in
      guard let step = CheckpointLocation.step(ofName: name) else { return nil }
      guard case .directory = try FileEntry(at: "\(checkpointsPath)/\(name)") else { return nil }
      return step
    }.sorted()
  }

  /// Where the checkpoint of a step is, or would be.
  public func location(ofStep step: Int) -> CheckpointLocation {
    CheckpointLocation(step: step, path: "\(checkpointsPath)/\(CheckpointLocation.name(ofStep: step))")
  }

  /// The checkpoint that `last` or `best` points to, nothing where there is no such link.
  ///
  /// Throws `MilmError` where it is no symbolic link to a name of a checkpoint beside it.
  public func location(of link: CheckpointLink) throws -> CheckpointLocation? {
    let linkPath = path(of: link)
    switch try FileEntry(at: linkPath) {
    case .absent: return nil
    case .symbolicLink: break
    default: throw MilmError(linkPath, "expected a symbolic link")
    }
    let target = try linkTarget(linkPath)
    guard let step = CheckpointLocation.step(ofName: target) else {
      throw MilmError(linkPath, "expected a link to step-… beside it, found \(target)")
    }
    return location(ofStep: step)
  }

  func path(of link: CheckpointLink) -> String {
    "\(checkpointsPath)/\(link.rawValue)"
  }

  /// A `checkpoints` that is a link could lead any write and removal out of the run.
  private func requireOwnCheckpoints() throws(MilmError) {
    guard case .directory = try FileEntry(at: checkpointsPath) else {
      throw MilmError(checkpointsPath, "expected a directory, found a file or a symbolic link")
    }
  }
}

/// The symbolic links in `checkpoints`.
public enum CheckpointLink: String, Sendable, CaseIterable {
  /// The checkpoint written last.
  case last
  /// The checkpoint of the lowest perplexity.
  case best
}

/// A checkpoint's place in a run.
public struct CheckpointLocation: Sendable, Equatable {
  /// The step it was written after.
  public let step: Int
  /// Its directory.
  public let path: String

  /// `step-` and at least eight digits.
  static func name(ofStep step: Int) -> String {
    let digits = String(step)
    return "step-" + String(repeating: "0", count: max(0, 8 - digits.count)) + digits
  }

  /// The inverse of `name(ofStep:)`, nothing for any other name.
  static func step(ofName name: String) -> Int? {
    guard name.hasPrefix("step-"), let step = Int(name.dropFirst(5)), step >= 0 else { return nil }
    return name == self.name(ofStep: step) ? step : nil
  }
}
