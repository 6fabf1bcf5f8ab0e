import Foundation

/// What stands at a path itself, a symbolic link not being followed.
enum FileEntry {
  case absent, file, directory, symbolicLink, other

  init(at path: String) throws(CheckpointError) {
    var status = stat()
    if lstat(path, &status) == -1 {
      let code = errno
      guard code == ENOENT || code == ENOTDIR else {
        throw CheckpointError(path, cannot: "examine", code: code)
      }
      self = .absent
      return
    }
    switch status.st_mode & S_IFMT {
    case S_IFREG: self = .file
    case S_IFDIR: self = .directory
    case S_IFLNK: self = .symbolicLink
    default: self = .other
    }
  }
}

/// The names in a directory, sorted.
func directoryEntries(_ path: String) throws(CheckpointError) -> [String] {
  do {
    return try FileManager.default.contentsOfDirectory(atPath: path).sorted()
  } catch {
    throw CheckpointError(path, "cannot list the directory")
  }
}

/// Removes a file, a link (never what it points to) or a whole directory.
func removeEntry(_ path: String) throws(CheckpointError) {
  do {
    try FileManager.default.removeItem(atPath: path)
  } catch {
    throw CheckpointError(path, "cannot remove: \(error.localizedDescription)")
  }
}

/// Makes a directory and those above it; one that is there already is left as it is.
///
/// Nobody but their owner may write in them, whatever the process's mask is.
func makeDirectories(_ path: String) throws(CheckpointError) {
  // Foundation's deletingLastPathComponent traps on a path of one character (Swift 6.3 on Linux).
  let parent = path.lastIndex(of: "/").map { String(path[..<$0]) } ?? ""
  if !parent.isEmpty, !isDirectory(path) { try makeDirectories(parent) }
  guard mkdir(path, 0o755) == -1 else { return }
  let code = errno
  guard code == EEXIST, isDirectory(path) else {
    throw CheckpointError(path, cannot: "create the directory", code: code)
  }
}

/// Whether there is a directory at `path`, or a link to one.
private func isDirectory(_ path: String) -> Bool {
  var status = stat()
  return stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
}

/// Where the symbolic link at `path` points, as it is written in the link.
func linkTarget(_ path: String) throws(CheckpointError) -> String {
  do {
    return try FileManager.default.destinationOfSymbolicLink(atPath: path)
  } catch {
    throw CheckpointError(path, "cannot read the symbolic link")
  }
}

/// Replaces `path` by a file of this text: the old one or the new one is there at every instant.
func replaceFile(_ path: String, with text: String) throws {
  let temporary = "\(path).tmp-\(getpid())"
  unlink(temporary)
  do {
    let file = try OpenFile.creating(temporary)
    try Array(text.utf8).withUnsafeBytes { try file.write($0) }
    try file.synchronize()
    try check(rename(temporary, path), "replace", path)
  } catch {
    unlink(temporary)
    throw error
  }
}
