import Checkpoints
import Foundation
import Platform

/// Entries of the output directory before the process, so that a failed start leaves nothing behind.
struct RunFootprint {
  private let path: String
  /// The entries that were there; nil where there was no directory.
  private let entries: Set<String>?
  /// The directories above it that were not there, the lowest first.
  private let absentParents: [String]
  /// A run that is there already is never removed.
  private let heldRun: Bool

  /// The state of a place now.
  init(_ run: RunDirectory) throws {
    path = run.path
    heldRun = try run.holdsRun()
    entries = isDirectory(path) ? Set(try directoryEntries(path)) : nil
    absentParents = try Platform.absentParents(of: path)
  }

  /// Throws where the run's directory could not be created or written.
  func requireWritable() throws {
    let existing = entries == nil ? parentDirectory(of: absentParents.last ?? path) : path
    guard isDirectory(existing) else { throw MilmError(existing, cannot: "write", code: ENOTDIR) }
    try check(access(existing, W_OK | X_OK), "write", existing)
  }

  /// Removes what has been created since.
  func restore() {
    guard !heldRun, (try? RunDirectory(path: path).checkpointSteps().isEmpty) == true else { return }
    if let entries {
      for name in (try? directoryEntries(path)) ?? [] where !entries.contains(name) {
        try? removeEntry("\(path)/\(name)")
      }
    } else {
      try? removeEntry(path)
      // A directory that is no longer empty stays.
      for parent in absentParents { rmdir(parent) }
    }
  }
}
