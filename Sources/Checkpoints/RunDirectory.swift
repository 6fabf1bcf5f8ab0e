import Foundation
import Platform

/// The layout of a run directory, RUN.
package struct RunDirectory: Sendable, Equatable {
  /// The directory itself.
  package let path: String

  /// The run at `path`; nothing is accessed or created.
  package init(path: String) {
    self.path = path
  }

  package var configurationPath: String { "\(path)/config.yaml" }
  /// The words of the model, one per line, so that a run can be evaluated on any text.
  package var vocabularyPath: String { "\(path)/vocabulary.txt" }
  /// The file that is locked while a job trains.
  package var lockPath: String { "\(path)/lock" }
  /// One line of JSON per report.
  package var metricsPath: String { "\(path)/metrics.jsonl" }
  /// One line of JSON per process that trained.
  package var sessionsPath: String { "\(path)/sessions.jsonl" }
  /// One line of JSON per evaluation of a split by `milm evaluate`.
  package var evaluationsPath: String { "\(path)/evaluations.jsonl" }
  /// The page with curves and a summary.
  package var reportPath: String { "\(path)/report.html" }
  /// The TensorBoard event files.
  package var tensorboardPath: String { "\(path)/tensorboard" }
  /// The traces, one file per rank.
  package var tracePath: String { "\(path)/trace" }
  /// The name of the newest checkpoint, outside `checkpoints`: distinguishes a run without any from an unmounted disk.
  package var newestCheckpointPath: String { "\(path)/newest-checkpoint" }
  /// The directory of the checkpoints and of the links to them.
  package var checkpointsPath: String { "\(path)/checkpoints" }

  /// Creates the directory with its parents and `checkpoints`; existing content is left unchanged.
  ///
  /// Throws if `checkpoints` is anything but a directory of this run.
  package func create() throws {
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

  /// Whether there is a run: a configuration or a checkpoint.
  package func holdsRun() throws -> Bool {
    if case .absent = try FileEntry(at: configurationPath) {
      return try !checkpointSteps().isEmpty
    }
    return true
  }

  /// Replaces `config.yaml` atomically.
  package func writeConfiguration(_ yaml: String) throws {
    try AtomicFile.write(yaml, to: configurationPath)
  }

  /// The steps of the complete checkpoints, ascending; empty if there is no run.
  package func checkpointSteps() throws -> [Int] {
    if case .absent = try FileEntry(at: checkpointsPath) { return [] }
    try requireOwnCheckpoints()
    return try directoryEntries(checkpointsPath).compactMap { name in
      guard let step = CheckpointLocation.step(ofName: name) else { return nil }
      guard case .directory = try FileEntry(at: "\(checkpointsPath)/\(name)") else { return nil }
      return step
    }.sorted()
  }

  /// The location of the checkpoint of a step, which need not exist.
  package func location(ofStep step: Int) -> CheckpointLocation {
    CheckpointLocation(step: step, path: "\(checkpointsPath)/\(CheckpointLocation.name(ofStep: step))")
  }

  /// The checkpoint that `last` or `best` points to; nil if there is no such link, as in a copy that has a directory or a file
  /// in its place.
  ///
  /// Throws if it is a symbolic link to anything but the name of a checkpoint in the same directory.
  package func location(of link: CheckpointLink) throws -> CheckpointLocation? {
    let linkPath = path(of: link)
    guard case .symbolicLink = try FileEntry(at: linkPath) else { return nil }
    let target = try linkTarget(linkPath)
    guard let step = CheckpointLocation.step(ofName: target) else {
      throw MilmError(linkPath, "expected a link to step-… beside it, found \(target)")
    }
    return location(ofStep: step)
  }

  /// Records the step of the newest checkpoint; nil: the run begins and has none.
  package func recordNewestCheckpoint(_ step: Int?) throws {
    try AtomicFile.write("\(step.map(CheckpointLocation.name) ?? "none")\n", to: newestCheckpointPath)
  }

  /// Records a checkpoint that was completed; on a full disk an earlier record stays, which says as much.
  func noteCheckpoint(_ step: Int) throws {
    do {
      try recordNewestCheckpoint(step)
    } catch {
      guard try recordedStep() != nil else { throw error }
    }
  }

  private func recordedStep() throws -> Int? {
    guard let content = try regularFileContent(newestCheckpointPath) else { return nil }
    return CheckpointLocation.step(ofName: String(decoding: content.prefix { $0 != 0x0A }, as: UTF8.self))
  }

  /// Evidence of checkpoints in a run's other files.
  package enum CheckpointRecord: Equatable, Sendable {
    /// Nothing, as in runs of versions that kept no record.
    case absent
    /// The run has completed no checkpoint.
    case none
    /// The run has completed one of this step.
    case step(Int, by: String)
  }

  /// Evidence of the newest checkpoint in links and other files of the run.
  package func checkpointRecord() throws -> CheckpointRecord {
    for link in CheckpointLink.allCases {
      if let location = try location(of: link) { return .step(location.step, by: path(of: link)) }
    }
    if let step = try recordedStep() { return .step(step, by: newestCheckpointPath) }
    if case .absent = try FileEntry(at: newestCheckpointPath) { return .absent }
    return .none
  }

  func path(of link: CheckpointLink) -> String {
    "\(checkpointsPath)/\(link.rawValue)"
  }

  /// If `checkpoints` were a link, writes and removals could leave the run.
  private func requireOwnCheckpoints() throws(MilmError) {
    guard case .directory = try FileEntry(at: checkpointsPath) else {
      throw MilmError(checkpointsPath, "expected a directory, found a file or a symbolic link")
    }
  }
}

/// The symbolic links in `checkpoints`.
package enum CheckpointLink: String, Sendable, CaseIterable {
  /// The most recent checkpoint.
  case last
  /// The checkpoint of the lowest perplexity.
  case best
}

/// The location of a checkpoint in a run.
package struct CheckpointLocation: Sendable, Equatable {
  package let step: Int
  /// Its directory.
  package let path: String

  /// `step-` and at least eight digits.
  static func name(ofStep step: Int) -> String {
    let digits = String(step)
    return "step-" + String(repeating: "0", count: max(0, 8 - digits.count)) + digits
  }

  /// The inverse of `name(ofStep:)`, nil for any other name.
  static func step(ofName name: String) -> Int? {
    guard name.hasPrefix("step-"), let step = Int(name.dropFirst(5)), step >= 0 else { return nil }
    return name == self.name(ofStep: step) ? step : nil
  }
}
