import Foundation
import Platform
import Synchronization

/// The stages of writing a checkpoint.
package enum CheckpointStage: Sendable {
  /// One file of several is written, under a temporary name.
  case writing
  /// All files are on disk, and an earlier checkpoint of the same step has been renamed.
  case renaming
  /// The checkpoint has its name; `last` still points to the previous one.
  case linking
}

/// The checkpoints of a run, for the one process that holds its lock.
///
/// A checkpoint is complete or absent at every instant, whenever the process or the machine stops. The methods of
/// a store may be called by one thread at a time.
package final class CheckpointStore: Sendable {
  /// The run of these checkpoints.
  package var run: RunDirectory { lock.run }

  private let lock: RunLock
  private let observe: @Sendable (CheckpointStage, _ step: Int) throws -> Void
  /// Steps whose files this process has written or verified.
  private let verifiedSteps = Mutex<Set<Int>>([])

  /// Opens the checkpoints of a locked run and removes what earlier processes left unfinished.
  ///
  /// `observe` is called at each stage of each write; an error that it throws makes the write fail.
  package init(
    lock: RunLock, observe: @escaping @Sendable (CheckpointStage, _ step: Int) throws -> Void = { _, _ in }
  ) throws {
    self.lock = lock
    self.observe = observe
    try lock.run.create()
    try lock.run.removeLeftovers()
    try recover()
  }

  /// The steps of the complete checkpoints, ascending.
  package func list() throws -> [Int] {
    try run.checkpointSteps()
  }

  /// Writes the checkpoint of `state.step`, replacing one of the same step, and points `last` to it.
  ///
  /// Fills in `state.files`. Returns when everything is on disk. On an error this attempt is removed, and earlier
  /// checkpoints and links are unchanged. A directory of the run that has vanished is made again.
  @discardableResult
  package func write(files: [CheckpointFile], state: CheckpointState) throws -> CheckpointLocation {
    if case .absent = try FileEntry(at: run.checkpointsPath) {
      try run.create()
      try lock.renew()
    }
    let location = run.location(ofStep: state.step)
    let draft = HiddenName.draft.path(of: location)
    try? removeEntry(draft)
    do {
      try check(mkdir(draft, 0o755), "create the directory", draft)
      try writeContent(files, state, into: draft)
      try publish(draft, at: location)
    } catch {
      try? removeEntry(draft)
      throw error
    }
    _ = verifiedSteps.withLock { $0.insert(state.step) }
    try run.noteCheckpoint(state.step)
    return location
  }

  /// Points `best` to the checkpoint of `step`, which must exist.
  package func markBest(_ step: Int) throws {
    guard try list().contains(step) else {
      throw MilmError(
        run.location(ofStep: step).path, "expected a checkpoint to mark as best, found none")
    }
    try point(.best, to: step)
    try synchronizeDirectory(run.checkpointsPath)
  }

  /// Removes the checkpoints older than the newest `count` that are scheduled.
  ///
  /// Others, written where a process stopped, are not counted, so that a run that was stopped has the same ones to return to.
  /// The targets of `best` and `last`, the newest checkpoint that verifies and `protected` steps, such as one that
  /// may still become the best, are kept at any age; if none verifies, nothing is removed.
  package func prune(
    keepLast count: Int, protecting protected: Set<Int> = [],
    isScheduled: (CheckpointState) -> Bool = { _ in true }
  ) throws {
    let steps = try list()
    let scheduled = try steps.filter { try self.isScheduled($0, isScheduled) }
    guard let oldest = scheduled.suffix(max(count, 1)).first else { return }
    let surplus = steps.prefix { $0 < oldest }
    guard !surplus.isEmpty, let anchor = try newestVerified(onRefusal: { _ in })?.state.step else { return }
    var kept = protected.union([anchor])
    for link in CheckpointLink.allCases {
      if let location = try run.location(of: link) { kept.insert(location.step) }
    }
    for step in surplus where !kept.contains(step) {
      try remove(step)
    }
  }

  /// The step of the newest scheduled checkpoint before a step; nil where there is none.
  package func scheduledStep(before step: Int, isScheduled: (CheckpointState) -> Bool) throws -> Int? {
    try list().last { try $0 < step && self.isScheduled($0, isScheduled) }
  }

  /// A checkpoint whose state is corrupted counts: nothing is known of it.
  private func isScheduled(_ step: Int, _ isScheduled: (CheckpointState) -> Bool) throws -> Bool {
    do {
      return isScheduled(try Checkpoint(at: run.location(ofStep: step)).state)
    } catch let error as MilmError where CheckpointDefect(error) != .unreadable {
      return true
    }
  }

  /// The newest checkpoint up to a step whose files all verify and whose state is a `candidate`; for each newer one,
  /// `onRefusal` receives why it was refused.
  ///
  /// Throws where one cannot be read: it may be good.
  package func newestVerified(
    through last: Int = .max, where isCandidate: (CheckpointState) -> Bool = { _ in true },
    onRefusal: (CheckpointRefusal) -> Void
  ) throws -> Checkpoint? {
    let checkpoint = try run.newestVerified(
      through: last, where: isCandidate, trusting: verifiedSteps.withLock { $0 }
    ) { refusal in
      _ = verifiedSteps.withLock { $0.remove(refusal.step) }
      onRefusal(refusal)
    }
    if let checkpoint { _ = verifiedSteps.withLock { $0.insert(checkpoint.state.step) } }
    return checkpoint
  }

  /// Treatment of the checkpoints beyond the step that a run is rewound to.
  ///
  /// Setting aside renames a checkpoint so that no run reads it: one that this process refuses may be good, as a copy
  /// that is not complete yet.
  package enum Newer: Sendable {
    /// They lead to a divergence: those that this process has written or verified are removed, others are set aside.
    case haveDiverged
    /// All are set aside.
    case areSetAside
  }

  /// Makes `step` the newest checkpoint of the run: `last` points to it, `best` to `bestStep`, and newer
  /// checkpoints are removed or set aside.
  ///
  /// If the checkpoint of `bestStep` no longer exists, there is no `best` until the next is marked.
  package func rewind(to step: Int, bestStep: Int?, newer: Newer) throws {
    let steps = try list()
    try point(.last, to: step)
    if let bestStep, bestStep <= step, steps.contains(bestStep) {
      try point(.best, to: bestStep)
    } else if try run.location(of: .best) != nil {
      try removeEntry(run.path(of: .best))
    }
    for other in steps.reversed() where other > step {
      if newer == .haveDiverged, verifiedSteps.withLock({ $0.contains(other) }) {
        try remove(other)
      } else {
        try setAside(run.location(ofStep: other).path)
      }
    }
    try synchronizeDirectory(run.checkpointsPath)
    try run.recordNewestCheckpoint(step)
  }
}

extension RunDirectory {
  /// The same without a store, as nothing is written; the files of `trusted` steps are not read.
  package func newestVerified(
    through last: Int = .max, where isCandidate: (CheckpointState) -> Bool = { _ in true },
    trusting trusted: Set<Int> = [], onRefusal: (CheckpointRefusal) -> Void
  ) throws -> Checkpoint? {
    for step in try checkpointSteps().reversed() where step <= last {
      do {
        let checkpoint = try Checkpoint(at: location(ofStep: step))
        guard isCandidate(checkpoint.state) else { continue }
        if !trusted.contains(step) { try checkpoint.verify() }
        return checkpoint
      } catch let error as MilmError {
        onRefusal(try CheckpointRefusal(location(ofStep: step), error))
      }
    }
    return nil
  }
}

extension CheckpointStore {
  private func writeContent(_ files: [CheckpointFile], _ state: CheckpointState, into draft: String) throws {
    var state = state
    state.files = [:]
    for file in files {
      precondition(isPlainFileName(file.part.fileName), "\(file.part.fileName) is not a file's name")
      state.files[file.part.fileName] = try writeSafetensors(
        file.tensors, metadata: file.metadata, to: "\(draft)/\(file.part.fileName)")
      if state.files.count == 1 { try observe(.writing, state.step) }
    }
    var stateFile = try DigestingFile(creating: "\(draft)/\(stateFileName)")
    try state.encoded().withUnsafeBytes { try stateFile.write($0) }
    _ = try stateFile.finish()
    try synchronizeDirectory(draft)
  }

  /// Moves a complete draft to its location; on an error, the location and the link are unchanged.
  ///
  /// A directory cannot be renamed over another one, so an earlier checkpoint of the same step is renamed first;
  /// if the machine stops between the two renames, `recover()` restores it.
  private func publish(_ draft: String, at location: CheckpointLocation) throws {
    let earlier = HiddenName.earlier.path(of: location)
    let previousLast = try run.location(of: .last)?.step
    let replaces = try list().contains(location.step)
    if replaces {
      try? removeEntry(earlier)
      try move(location.path, to: earlier)
    }
    do {
      try observe(.renaming, location.step)
      try move(draft, to: location.path)
      try synchronizeDirectory(run.checkpointsPath)
      try observe(.linking, location.step)
      try point(.last, to: location.step)
      try synchronizeDirectory(run.checkpointsPath)
    } catch {
      try? move(location.path, to: draft)
      if replaces { try? move(earlier, to: location.path) }
      if let previousLast { try? point(.last, to: previousLast) } else { unlink(run.path(of: .last)) }
      throw error
    }
    // The new checkpoint is complete; what cannot be removed now is removed when the run is next opened.
    try? removeEntry(earlier)
  }

  /// Replaces a link atomically; on a file system without links there is none, and `state.json` says what it would.
  private func point(_ link: CheckpointLink, to step: Int) throws {
    let temporary = "\(run.checkpointsPath)/.\(link.rawValue).tmp-\(getpid())"
    unlink(temporary)
    if symlink(CheckpointLocation.name(ofStep: step), temporary) == -1 {
      let code = errno
      if [EPERM, ENOSYS, EOPNOTSUPP].contains(code) { return }
      throw MilmError(temporary, cannot: "create the link", code: code)
    }
    do {
      try move(temporary, to: run.path(of: link))
    } catch {
      unlink(temporary)
      throw error
    }
  }

  /// Hides a checkpoint atomically, then removes its files.
  private func remove(_ step: Int) throws {
    let location = run.location(ofStep: step)
    let removed = HiddenName.removed.path(of: location)
    try move(location.path, to: removed)
    _ = verifiedSteps.withLock { $0.remove(step) }
    try removeEntry(removed)
  }

  /// Gives an entry a name that no run reads: `NAME.set-aside`, with a number where that is taken.
  private func setAside(_ path: String) throws {
    for number in 1... {
      let name = "\(path).set-aside\(number == 1 ? "" : "-\(number)")"
      guard case .absent = try FileEntry(at: name) else { continue }
      return try move(path, to: name)
    }
  }

  /// Puts copies of a run in order, which have directories or files in place of the links.
  ///
  /// A directory that is the copy of a checkpoint that verifies is removed; one whose checkpoint is missing becomes it.
  private func replaceCopiedLinks() throws {
    for link in CheckpointLink.allCases {
      let path = run.path(of: link)
      switch try FileEntry(at: path) {
      case .absent, .symbolicLink: continue
      case .directory:
        guard let copy = try copiedCheckpoint(path) else { break }
        let location = run.location(ofStep: copy.state.step)
        if case .absent = try FileEntry(at: location.path) {
          try move(path, to: location.path)
          continue
        }
        guard let original = try copiedCheckpoint(location.path), original.state == copy.state,
          try newestVerified(
            through: copy.state.step, where: { $0.step == copy.state.step }, onRefusal: { _ in }) != nil
        else { break }
        try removeEntry(path)
        continue
      case .file, .other: break
      }
      try setAside(path)
    }
  }

  /// The checkpoint at a path; nil where there is none.
  private func copiedCheckpoint(_ path: String) throws -> Checkpoint? {
    do {
      return try Checkpoint(directory: path)
    } catch let error as MilmError where CheckpointDefect(error) != .unreadable {
      return nil
    }
  }

  private func move(_ path: String, to newPath: String) throws {
    try check(rename(path, newPath), "rename", path)
  }

  /// Restores checkpoints that were renamed for one that was never completed, and removes all other leftovers.
  private func recover() throws {
    for name in try directoryEntries(run.checkpointsPath) where name.hasPrefix(".") {
      let path = "\(run.checkpointsPath)/\(name)"
      if let step = HiddenName.earlier.step(of: name), try !list().contains(step) {
        try move(path, to: run.location(ofStep: step).path)
      } else if HiddenName.allCases.contains(where: { $0.step(of: name) != nil })
        || Self.isTemporaryLink(name)
      {
        try removeEntry(path)
      }
    }
    try replaceCopiedLinks()
    try synchronizeDirectory(run.checkpointsPath)
  }

  private static func isTemporaryLink(_ name: String) -> Bool {
    CheckpointLink.allCases.contains { name.hasPrefix(".\($0.rawValue).tmp-") }
  }
}

/// Names of directories that are not, or no longer, checkpoints: `.step-00001000.tmp-PID`.
private enum HiddenName: String, CaseIterable {
  /// A checkpoint being written.
  case draft = "tmp"
  /// A checkpoint that is being replaced by a new one of the same step.
  case earlier = "old"
  /// A checkpoint being removed.
  case removed

  /// The hidden path beside a checkpoint.
  func path(of location: CheckpointLocation) -> String {
    let parts = location.path.split(separator: "/", omittingEmptySubsequences: false)
    return (parts.dropLast() + [".\(parts.last ?? "").\(rawValue)-\(getpid())"]).joined(separator: "/")
  }

  /// The step of a hidden name of this kind, of any process.
  func step(of name: String) -> Int? {
    guard name.hasPrefix("."), let marker = name.range(of: ".\(rawValue)-") else { return nil }
    return CheckpointLocation.step(
      ofName: String(name[name.index(after: name.startIndex)..<marker.lowerBound]))
  }
}
