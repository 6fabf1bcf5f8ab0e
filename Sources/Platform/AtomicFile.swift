import Foundation

/// A file that appears under its name only when it is complete and on disk; until then the old one stays.
///
/// It is written under a temporary name in the same directory; without `finish()` nothing is left behind.
package final class AtomicFile {
  private let path: String
  private let temporaryPath: String
  private let file: OpenFile
  private var isFinished = false

  /// Begins a file that will appear at `path`.
  package init(_ path: String) throws(MilmError) {
    self.path = path
    temporaryPath = Self.temporaryPath(for: path)
    file = try OpenFile.creating(temporaryPath, reportedAs: path)
  }

  deinit {
    if !isFinished { unlink(temporaryPath) }
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
    try file.synchronize()
    try check(rename(temporaryPath, path), "replace", path)
    isFinished = true
    try synchronizeDirectory(parentDirectory(of: path))
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
