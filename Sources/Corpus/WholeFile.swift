import Foundation

/// A file that appears under its name only when it is complete and on the disk.
///
/// It is written under a temporary name beside it; without `finish()` nothing stays behind.
public final class WholeFile {
  private let path: String
  private let temporaryPath: String
  private let descriptor: Int32
  private var isFinished = false

  /// Begins a file; throws `CorpusError` where it cannot be written in that folder.
  public init(_ url: URL) throws {
    path = url.path
    temporaryPath = temporaryName(for: path)
    descriptor = open(temporaryPath, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o644)
    guard descriptor >= 0 else { throw CorpusError.system("write", temporaryPath) }
  }

  deinit {
    close(descriptor)
    if !isFinished { unlink(temporaryPath) }
  }

  /// Writes all of a file at once.
  static func writeAll(_ bytes: UnsafeRawBufferPointer, to url: URL) throws {
    let file = try WholeFile(url)
    try file.append(bytes)
    try file.finish()
  }

  /// Adds bytes at the end.
  public func append(_ bytes: UnsafeRawBufferPointer) throws {
    try repeatWriting(bytes) { write(descriptor, $0.baseAddress, $0.count) }
  }

  /// Writes over the beginning of the file.
  func overwriteStart(with bytes: UnsafeRawBufferPointer) throws {
    var offset = 0
    try repeatWriting(bytes) {
      let count = pwrite(descriptor, $0.baseAddress, $0.count, off_t(offset))
      offset += max(count, 0)
      return count
    }
  }

  /// Forces the content to the disk, then gives the file its name.
  public func finish() throws {
    guard fsync(descriptor) == 0 else { throw CorpusError.system("write", temporaryPath) }
    guard rename(temporaryPath, path) == 0 else {
      throw CorpusError.system("rename \(temporaryPath) to", path)
    }
    isFinished = true
    try synchronize(folder: URL(filePath: path).deletingLastPathComponent().path)
  }

  private func repeatWriting(
    _ bytes: UnsafeRawBufferPointer, by write: (UnsafeRawBufferPointer) -> Int
  ) throws {
    var rest = bytes
    while !rest.isEmpty {
      let count = write(rest)
      if count > 0 {
        rest = UnsafeRawBufferPointer(rebasing: rest[count...])
      } else if errno != EINTR {
        throw CorpusError.system("write", temporaryPath)
      }
    }
  }
}

/// A hidden name in the same folder that nothing else uses.
func temporaryName(for path: String) -> String {
  let unique = String(UInt64.random(in: 0...UInt64.max), radix: 36)
  let nameStart = path.lastIndex(of: "/").map(path.index(after:)) ?? path.startIndex
  return "\(path[..<nameStart]).\(path[nameStart...]).\(unique).tmp"
}

/// Forces a folder's entries to the disk, so that a rename in it outlives a power cut.
func synchronize(folder: String) throws {
  let descriptor = open(folder.isEmpty ? "." : folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
  guard descriptor >= 0 else { throw CorpusError.system("open", folder) }
  defer { close(descriptor) }
  // Some network file systems cannot do this for folders and say EINVAL: then there is nothing to wait for.
  guard fsync(descriptor) == 0 || errno == EINVAL else { throw CorpusError.system("write", folder) }
}
