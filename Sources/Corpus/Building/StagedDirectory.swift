import Foundation
import Platform

/// A directory that appears under its name complete or not at all.
///
/// It is filled under a temporary name beside its destination; without `publish()` nothing is left behind.
/// The next process with the same destination removes what a killed process left behind; a lock distinguishes it from a
/// directory that is being filled.
final class StagedDirectory {
  /// Where to write until it is published.
  let url: URL
  private let temporary: TemporaryEntry
  private let destination: URL
  private let name: String
  private let lock: OpenFile

  /// Begins a directory that will appear at `destination`.
  ///
  /// - Throws: if there is anything but an empty directory or a corpus: a mistyped path must not destroy files.
  init(for destination: URL) throws {
    name = destination.relativePath
    // A symbolic link to a corpus stays a link; its target is replaced.
    self.destination = destination.resolvingSymlinksInPath()
    try Self.checkReplaceable(self.destination, name: name)
    let path = self.destination.path
    url = URL(fileURLWithPath: AtomicFile.temporaryPath(for: path), isDirectory: true)
    let parent = url.deletingLastPathComponent()
    temporary = TemporaryEntry(url.path, newParents: try absentParents(of: url.path))
    do {
      try makeDirectories(parent.path)
    } catch {
      throw MilmError("\(name): \(error)")
    }
    Self.removeLeftovers(of: self.destination.lastPathComponent, in: parent)
    guard mkdir(url.path, 0o755) == 0 else { throw MilmError(name, cannot: "write") }
    lock = try OpenFile.directory(url.path)
    guard try lock.lock() else {
      throw MilmError(url.path, "expected a new directory, found it locked by another process")
    }
  }

  /// Gives the directory its name, replacing an earlier corpus.
  func publish() throws {
    try synchronizeDirectory(url.path)
    try Self.checkReplaceable(destination, name: name)
    try temporary.finish {
      // A plain rename replaces nothing or an empty directory.
      if rename(url.path, destination.path) != 0 {
        guard errno == ENOTEMPTY || errno == EEXIST else { throw MilmError(name, cannot: "write") }
        try replace()
      }
    }
    try synchronizeDirectory(destination.deletingLastPathComponent().path)
  }

  /// Removes unpublished directories of the destination whose processes are gone.
  private static func removeLeftovers(of name: String, in parent: URL) {
    let entries = (try? FileManager.default.contentsOfDirectory(atPath: parent.path)) ?? []
    for entry in entries where AtomicFile.isTemporary(entry, of: name) {
      let path = parent.appendingPathComponent(entry).path
      guard let directory = try? OpenFile.directory(path), (try? directory.lock()) == true else { continue }
      try? removeEntry(path)
    }
  }

  /// Replaces the earlier directory, in one step if the file system can do that, else in two.
  private func replace() throws {
    if !exchangePaths(url.path, destination.path) {
      let aside = AtomicFile.temporaryPath(for: destination.path)
      guard rename(destination.path, aside) == 0 else { throw MilmError(name, cannot: "replace") }
      guard rename(url.path, destination.path) == 0 else {
        let error = MilmError(name, cannot: "replace")
        rename(aside, destination.path)
        throw error
      }
      guard rename(aside, url.path) == 0 else { throw MilmError(aside, cannot: "remove") }
    }
    // The temporary name now belongs to the earlier corpus.
    try? FileManager.default.removeItem(at: url)
  }

  private static func checkReplaceable(_ destination: URL, name: String) throws {
    var isDirectory: ObjCBool = false
    guard FileManager.default.fileExists(atPath: destination.path, isDirectory: &isDirectory) else { return }
    guard isDirectory.boolValue else {
      throw MilmError("expected no file at \(name), or a corpus to replace; found a file")
    }
    let entries = try directoryEntries(destination.path)
    let foreign = Set(entries).subtracting(Corpus.fileNames).sorted()
    if !entries.isEmpty,
      let example = foreign.first ?? (entries.contains("corpus.json") ? nil : entries.first)
    {
      throw MilmError("expected an empty directory or a corpus alone at \(name), found \(example) in it")
    }
  }
}
