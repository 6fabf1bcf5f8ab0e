import Platform

/// The checkpoint that a command reads when a path is given to it, and why it is that one.
///
/// Copies of a run may lack the links `best` and `last`, or have directories in their place: `state.json` knows the best
/// step too. A file of a checkpoint may be one link to a regular file, as in caches of models.
package struct CheckpointChoice: Sendable {
  /// The checkpoint that is read.
  package let checkpoint: Checkpoint
  /// Why it is that one.
  package let reason: String
  /// Whether it is the best of its run.
  package let isBest: Bool
  /// Caveats about the results, one line each.
  package let warnings: [String]
  /// The newest state of the run; the checkpoint's own where a checkpoint was named.
  package let newest: CheckpointState

  /// The checkpoint at a path or, where the path is a run's, its best one or else its newest one.
  ///
  /// Only `state.json` is verified; see `Checkpoint.verify()`.
  package init(_ path: String) throws {
    if try Checkpoint.isCheckpoint(path) {
      let checkpoint = try Checkpoint(directory: path, followsLinks: true)
      self.init(
        checkpoint: checkpoint, reason: "it was named", isBest: false, warnings: [], newest: checkpoint.state)
    } else if let (run, link) = Self.missingLink(path) {
      try self.init(of: run, link)
    } else {
      try self.init(of: RunDirectory(path: path), .best)
    }
  }

  private init(
    checkpoint: Checkpoint, reason: String, isBest: Bool, warnings: [String], newest: CheckpointState
  ) {
    self.checkpoint = checkpoint
    self.reason = reason
    self.isBest = isBest
    self.warnings = warnings
    self.newest = newest
  }

  /// The run and the link of a path such as `RUN/checkpoints/best`, which names no checkpoint.
  private static func missingLink(_ path: String) -> (RunDirectory, CheckpointLink)? {
    let parts = path.split(separator: "/", omittingEmptySubsequences: false)
    guard parts.count >= 2, parts[parts.count - 2] == "checkpoints",
      let link = CheckpointLink(rawValue: String(parts[parts.count - 1]))
    else { return nil }
    let run = parts.dropLast(2).joined(separator: "/")
    return (RunDirectory(path: run.isEmpty ? parts.count > 2 ? "/" : "." : run), link)
  }

  private init(of run: RunDirectory, _ link: CheckpointLink) throws {
    let found = try FoundCheckpoints(run)
    guard let (checkpoint, reason, isBest) = try found.choose(link) else {
      guard !found.problems.isEmpty else {
        throw MilmError(
          run.path,
          "expected a checkpoint or a run that has one, found neither; milm prepare builds a corpus, and milm train a run on it"
        )
      }
      throw MilmError(
        run.path,
        "expected a checkpoint whose state.json verifies, found none: "
          + found.problems.joined(separator: "; "))
    }
    let newest = found.newest ?? checkpoint
    var warnings = found.problems.map { "\($0); it is ignored" }
    if link == .best, newest.state.step > checkpoint.state.step, newest.state.ownPerplexity == nil {
      warnings.append(
        "\(newest.path) is newer and has not been evaluated on the validation split: the best checkpoint so far may not "
          + "be the best of the run; name it to read it, or evaluate it with train --resume auto")
    }
    self.init(
      checkpoint: checkpoint, reason: reason, isBest: isBest, warnings: warnings, newest: newest.state)
  }
}

/// The checkpoints of a run as a reader finds them.
private struct FoundCheckpoints {
  private let run: RunDirectory
  /// The steps that have a directory, ascending.
  private let steps: [Int]
  private let links: [CheckpointLink: CheckpointLocation]
  /// Directories in place of links.
  private let copies: [CheckpointLink: Checkpoint]
  /// The newest checkpoint whose state verifies.
  let newest: Checkpoint?
  /// Unreadable checkpoints, one line each.
  private(set) var problems: [String] = []

  init(_ run: RunDirectory) throws {
    self.run = run
    steps = try run.checkpointSteps()
    var links: [CheckpointLink: CheckpointLocation] = [:]
    var copies: [CheckpointLink: Checkpoint] = [:]
    for link in CheckpointLink.allCases {
      links[link] = try run.location(of: link)
      let path = run.path(of: link)
      guard links[link] == nil, case .directory = try FileEntry(at: path), try Checkpoint.isCheckpoint(path)
      else { continue }
      copies[link] = try Checkpoint(directory: path, followsLinks: true)
    }
    self.links = links
    self.copies = copies
    var newest: Checkpoint?
    for step in steps.reversed() where newest == nil {
      do {
        newest = try Checkpoint(at: run.location(ofStep: step), followsLinks: true)
      } catch let error as MilmError {
        guard CheckpointDefect(error) != .unreadable else { throw error }
        problems.append(error.description)
      }
    }
    self.newest = newest ?? copies[.last]
  }

  /// The checkpoint that a link points to or would point to, why, and whether it is the best; nil where there is none.
  func choose(_ link: CheckpointLink) throws -> (Checkpoint, String, isBest: Bool)? {
    let isBest = link == .best
    // A process that continues points `best` back to what counts for the run, until its next checkpoint.
    let known = isBest ? newest?.state.best?.step ?? 0 : 0
    if let location = links[link], newest == nil || location.step >= known && steps.contains(location.step) {
      return (try Checkpoint(at: location, followsLinks: true), "\(link.rawValue) of the run", isBest)
    }
    if let copy = copies[link] {
      return (copy, "\(link.rawValue) of the run, a directory in place of a link", isBest)
    }
    guard let newest else {
      // A link to what is no directory says what is wrong.
      if let location = links[.last] { return (try Checkpoint(at: location, followsLinks: true), "", false) }
      return copies[.best].map { ($0, "the only one of the run", true) }
    }
    if !isBest { return (newest, "the newest of the run, which has no link to it", false) }
    guard let best = newest.state.best else {
      return (newest, "the newest of the run; none has been evaluated on a validation split", false)
    }
    guard steps.contains(best.step) else {
      return (newest, "the newest of the run; the best, of step \(best.step), is not there", false)
    }
    let checkpoint = try Checkpoint(at: run.location(ofStep: best.step), followsLinks: true)
    return (checkpoint, "best of the run according to state.json of step \(newest.state.step)", true)
  }
}
