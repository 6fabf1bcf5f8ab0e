import Foundation

/// A file that appears under its name only when it is complete and on disk; until then the old one stays.
///
/// It is written under a temporary name in the same directory; without `finish()` nothing is left behind. It replaces nothing
/// but a regular file.
package final class AtomicFile {
  /// The path that errors name.
  private let path: String
  /// The path that is replaced.
  private let target: String
  /// Nil where the content goes straight to what is at `path`.
  private let temporary: TemporaryEntry?
  private let file: OpenFile

  /// Begins a file that will appear at `path`; throws where there is anything but a regular file.
  package init(_ path: String) throws(MilmError) {
    try Self.requireReplaceable(path)
    self.path = path
    target = path
    let temporary = TemporaryEntry(Self.temporaryPath(for: path))
    self.temporary = temporary
    file = try OpenFile.creating(temporary.path, reportedAs: path)
  }

  /// Begins the file that a user has named for results.
  ///
  /// A link stays one: what it points to is replaced. A device or a pipe gets the content as it is written, and so does
  /// what is open already, as `/dev/stdout`. A file that is there is replaced only where it is such an output too: where
  /// it is empty, or has the same `beginning`.
  package init(output path: String, beginning: String) throws(MilmError) {
    self.path = path
    guard let target = try Self.replaceableTarget(path) else {
      target = path
      temporary = nil
      file = try OpenFile.output(path)
      return
    }
    try Self.requireOutput(target, beginning: beginning)
    self.target = target
    let temporary = TemporaryEntry(Self.temporaryPath(for: target))
    self.temporary = temporary
    file = try OpenFile.creating(temporary.path, reportedAs: path)
  }

  private static func requireReplaceable(_ path: String) throws(MilmError) {
    let found: String
    switch try FileEntry(at: path) {
    case .absent, .file: return
    case .directory: found = "a directory"
    case .symbolicLink: found = "a symbolic link"
    case .other: found = "a device, a pipe or a socket"
    }
    throw MilmError(path, "expected a regular file to replace, or none, found \(found)")
  }

  private static func requireOutput(_ path: String, beginning: String) throws(MilmError) {
    guard let existing = try openIfPresent(path) else { return }
    let expected = Array(beginning.utf8)
    var found = [UInt8](repeating: 0, count: expected.count)
    let result: Result<Int, MilmError> = found.withUnsafeMutableBytes { buffer in
      Result { () throws(MilmError) in try existing.readAll(into: buffer) }
    }
    let count = try result.get()
    guard count > 0, found != expected else { return }
    throw MilmError(
      path,
      "expected a new file, or an earlier output of the same kind to replace, found another file; name another path or "
        + "remove it")
  }

  /// The path that is to be replaced by the user's output at `path`; nil where the content is to be written into what is
  /// there.
  private static func replaceableTarget(_ path: String) throws(MilmError) -> String? {
    if ["/dev/std", "/dev/fd/", "/proc/"].contains(where: { path.hasPrefix($0) }) { return nil }
    switch try FileEntry(at: path) {
    case .other: return nil
    case .symbolicLink:
      var resolved = [CChar](repeating: 0, count: Int(PATH_MAX) + 1)
      guard realpath(path, &resolved) != nil else { throw MilmError(path, cannot: "follow the link") }
      let target = String(decoding: resolved.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
      return try replaceableTarget(target)
    case .absent, .file, .directory:
      try requireReplaceable(path)
      return path
    }
  }

  /// Replaces the file at `path` by one with this content.
  package static func write(_ bytes: UnsafeRawBufferPointer, to path: String) throws(MilmError) {
    let file = try AtomicFile(path)
    try file.append(bytes)
    try file.finish()
  }

  /// Replaces the file at `path` by one with this content.
  package static func write(_ bytes: [UInt8], to path: String) throws {
    try bytes.withUnsafeBytes { try write($0, to: path) }
  }

  /// Replaces the file at `path` by one with this text.
  package static func write(_ text: String, to path: String) throws {
    try write(Array(text.utf8), to: path)
  }

  /// Writes this text to the file that a user has named for results.
  package static func write(_ text: String, toOutput path: String, beginning: String) throws {
    precondition(text.hasPrefix(beginning), "the text begins otherwise")
    let file = try AtomicFile(output: path, beginning: beginning)
    try Array(text.utf8).withUnsafeBytes { try file.append($0) }
    try file.finish()
  }

  /// Adds bytes at the end.
  package func append(_ bytes: UnsafeRawBufferPointer) throws(MilmError) {
    try file.write(bytes)
  }

  /// Overwrites the beginning of the file.
  package func overwriteStart(with bytes: UnsafeRawBufferPointer) throws(MilmError) {
    try file.write(bytes, at: 0)
  }

  /// Forces the content to disk and gives the file its name.
  package func finish() throws(MilmError) {
    guard let temporary else { return }
    try file.synchronize()
    // It may have been replaced meanwhile by what must stay.
    try Self.requireReplaceable(target)
    try temporary.finish { () throws(MilmError) in
      try check(rename(temporary.path, target), "replace", path)
    }
    try synchronizeDirectory(parentDirectory(of: target))
  }

  // MARK: The one rule for temporary names

  /// A hidden name beside `path` that nothing else uses: `.NAME.UNIQUE.tmp`.
  package static func temporaryPath(for path: String) -> String {
    let unique = String(UInt64.random(in: 0...UInt64.max), radix: 36)
    let nameStart = path.lastIndex(of: "/").map(path.index(after:)) ?? path.startIndex
    return "\(path[..<nameStart]).\(path[nameStart...]).\(unique).tmp"
  }

  /// Whether a name is a temporary one, of the file or directory `name` or, by default, of any.
  package static func isTemporary(_ candidate: String, of name: String? = nil) -> Bool {
    guard candidate.hasPrefix("."), candidate.hasSuffix(".tmp") else { return false }
    if let name { return candidate.hasPrefix(".\(name).") }
    return candidate.split(separator: ".").count > 2
  }

  /// Removes the temporary files of killed processes; no other process may be writing in the directory.
  package static func removeLeftovers(in directory: String) throws(MilmError) {
    for name in try directoryEntries(directory) where isTemporary(name) {
      try removeEntry("\(directory)/\(name)")
    }
  }
}

/// Swaps what two paths name in one step; false if the file system cannot.
package func exchangePaths(_ first: String, _ second: String) -> Bool {
  // Swift's Glibc module does not export renameat2, so it is looked up by name.
  typealias RenameAt2 =
    @convention(c) (Int32, UnsafePointer<CChar>, Int32, UnsafePointer<CChar>, UInt32) -> Int32
  guard let symbol = dlsym(nil, "renameat2") else { return false }
  let exchange: UInt32 = 2
  return unsafeBitCast(symbol, to: RenameAt2.self)(AT_FDCWD, first, AT_FDCWD, second, exchange) == 0
}
