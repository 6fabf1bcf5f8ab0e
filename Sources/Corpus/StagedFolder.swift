import Foundation
import Platform

/// A folder that appears under its name whole or not at all.
///
/// It is filled beside its final place, under a hidden temporary name that ends in `.tmp`;
/// without `publish()` nothing stays behind. What a killed process left behind is removed by the next one
/// with the same destination; a lock tells it from a folder that is being filled.
final class StagedFolder {
  /// Where to write in the meantime.
  let url: URL
  private let destination: URL
  private let name: String
  private let lock: Int32
  private var isPublished = false

  /// Begins a folder that is to stand at `destination`.
  ///
  /// - Throws: `MilmError` if something stands there that is neither an empty folder nor a corpus alone:
  ///   a mistyped path must not cost anyone's files.
  init(for destination: URL) throws {
    name = destination.relativePath
    // A symbolic link to a corpus stays a link, and what it points to is replaced.
    self.destination = destination.resolvingSymlinksInPath()
    try Self.checkReplaceable(self.destination, name: name)
    let path = self.destination.path
    url = URL(fileURLWithPath: AtomicFile.temporaryPath(for: path), isDirectory: true)
    let parent = url.deletingLastPathComponent()
    do {
      try FileManager.default.createDirectory(at: parent, withIntermediateDirectories: true)
    } catch {
      throw MilmError("cannot make the folder \(parent.path) for \(name): \(error.localizedDescription)")
    }
    Self.removeRemains(of: self.destination.lastPathComponent, in: parent)
    guard mkdir(url.path, 0o755) == 0 else { throw MilmError(name, cannot: "write") }
    lock = open(url.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard lock >= 0, flock(lock, LOCK_EX | LOCK_NB) == 0 else { throw MilmError(name, cannot: "lock") }
  }

  deinit {
    close(lock)
    if !isPublished { try? FileManager.default.removeItem(at: url) }
  }

  /// Gives the folder its name, in the place of an earlier corpus if there is one.
  func publish() throws {
    try synchronizeDirectory(url.path)
    try Self.checkReplaceable(destination, name: name)
    // Over nothing, and over an empty folder, a plain rename is enough.
    if rename(url.path, destination.path) != 0 {
      guard errno == ENOTEMPTY || errno == EEXIST else { throw MilmError(name, cannot: "write") }
      try replace()
    }
    isPublished = true
    try synchronizeDirectory(destination.deletingLastPathComponent().path)
  }

  /// Removes the unpublished folders of a destination whose processes are gone.
  private static func removeRemains(of name: String, in parent: URL) {
    let entries = (try? FileManager.default.contentsOfDirectory(atPath: parent.path)) ?? []
    for entry in entries where AtomicFile.isTemporary(entry, of: name) {
      let path = parent.appendingPathComponent(entry).path
      let descriptor = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
      guard descriptor >= 0 else { continue }
      defer { close(descriptor) }
      if flock(descriptor, LOCK_EX | LOCK_NB) == 0 { try? FileManager.default.removeItem(atPath: path) }
    }
  }

  /// Puts the folder in the place of the earlier one in one step where the file system
  /// can do that, else in two.
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
    // From here on the temporary name holds the earlier corpus.
    try? FileManager.default.removeItem(at: url)
  }

  private static func checkReplaceable(_ destination: URL, name: String) throws {
    var isFolder: ObjCBool = false
    guard FileManager.default.fileExists(atPath: destination.path, isDirectory: &isFolder) else { return }
    guard isFolder.boolValue else {
      throw MilmError("expected no file at \(name), or a corpus to replace; found a file")
    }
    let entries = try FileManager.default.contentsOfDirectory(atPath: destination.path)
    let foreign = Set(entries).subtracting(Corpus.fileNames).sorted()
    if !entries.isEmpty,
      let example = foreign.first ?? (entries.contains("corpus.json") ? nil : entries.first)
    {
      throw MilmError("expected an empty folder or a corpus alone at \(name), found \(example) in it")
    }
  }
}
