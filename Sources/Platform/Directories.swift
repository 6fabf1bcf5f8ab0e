import Foundation

/// The kind of entry at a path.
package enum FileEntry {
  case absent, file, directory, symbolicLink, other

  /// The entry at a path, or with `followingLinks` what it leads to.
  package init(at path: String, followingLinks: Bool = false) throws(MilmError) {
    var status = stat()
    if (followingLinks ? stat(path, &status) : lstat(path, &status)) == -1 {
      let code = errno
      guard code == ENOENT || code == ENOTDIR else {
        throw MilmError(path, cannot: "examine", code: code)
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

/// The names in a directory, sorted; one that is not UTF-8 is left out, because it cannot be told from others.
package func directoryEntries(_ path: String) throws(MilmError) -> [String] {
  guard let stream = opendir(path) else { throw MilmError(path, cannot: "list the directory") }
  defer { closedir(stream) }
  var names: [String] = []
  while true {
    errno = 0
    guard let entry = readdir(stream) else {
      let code = errno
      guard code == 0 else { throw MilmError(path, cannot: "list the directory", code: code) }
      return names.sorted()
    }
    let name = withUnsafeBytes(of: entry.pointee.d_name) { bytes in
      String(validating: bytes.prefix { $0 != 0 }, as: UTF8.self)
    }
    if let name, name != ".", name != ".." { names.append(name) }
  }
}

/// Removes a file, a link (never what it points to) or a whole directory.
package func removeEntry(_ path: String) throws(MilmError) {
  do {
    try FileManager.default.removeItem(atPath: path)
  } catch {
    throw MilmError(path, "cannot remove: \(systemReason(error))")
  }
}

/// Creates a directory and its parents; an existing one is left unchanged.
///
/// Whatever the umask, only the owner may write in them. Each new one is on disk in its parent, as far as the file system
/// can do that.
package func makeDirectories(_ path: String) throws(MilmError) {
  let parent = path.lastIndex(of: "/").map { String(path[..<$0]) } ?? ""
  if !parent.isEmpty, !isDirectory(path) { try makeDirectories(parent) }
  guard mkdir(path, 0o755) == -1 else {
    // A parent that may be searched but not read cannot be synchronized.
    try? synchronizeDirectory(parentDirectory(of: path))
    return
  }
  let code = errno
  guard code == EEXIST, isDirectory(path) else {
    throw MilmError(path, cannot: "create the directory", code: code)
  }
}

/// Forces a directory's entries to disk, so that creations, renames and removals in it survive a power loss.
package func synchronizeDirectory(_ path: String) throws(MilmError) {
  let descriptor = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
  try check(descriptor, "open the directory", path)
  defer { close(descriptor) }
  // Some network file systems cannot do this for directories and answer EINVAL: there is nothing to wait for.
  if fsync(descriptor) == -1, errno != EINVAL { throw MilmError(path, cannot: "synchronize") }
}

/// Where the symbolic link at `path` points, as written in the link.
package func linkTarget(_ path: String) throws(MilmError) -> String {
  do {
    return try FileManager.default.destinationOfSymbolicLink(atPath: path)
  } catch {
    throw MilmError(path, "cannot read the symbolic link: \(systemReason(error))")
  }
}

/// The path that a symbolic link at `path` points to; `path` itself where it is no link.
///
/// One link alone is followed: what opens the result refuses another.
package func followingOneLink(_ path: String) throws(MilmError) -> String {
  guard case .symbolicLink = try FileEntry(at: path) else { return path }
  let target = try linkTarget(path)
  return target.hasPrefix("/") ? target : "\(parentDirectory(of: path))/\(target)"
}

/// The directory that holds the entry `path`.
///
/// Foundation's deletingLastPathComponent traps on a path of one character (Swift 6.3 on Linux).
package func parentDirectory(of path: String) -> String {
  guard let slash = path.lastIndex(of: "/") else { return "." }
  return slash == path.startIndex ? "/" : String(path[..<slash])
}

/// The directories above `path` that are not there, the lowest first.
package func absentParents(of path: String) throws(MilmError) -> [String] {
  var absent: [String] = []
  var parent = parentDirectory(of: path)
  while case .absent = try FileEntry(at: parent), parent != ".", parent != "/" {
    absent.append(parent)
    parent = parentDirectory(of: parent)
  }
  return absent
}

/// Whether there is a directory at `path`, or a link to one.
package func isDirectory(_ path: String) -> Bool {
  var status = stat()
  return stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
}

/// The message of the system behind an error of Foundation.
private func systemReason(_ error: any Error) -> String {
  let underlying = (error as NSError).userInfo[NSUnderlyingErrorKey] as? any Error
  guard let code = (underlying as? POSIXError)?.code.rawValue else { return error.localizedDescription }
  return String(cString: strerror(code))
}
