import Foundation

/// A file open for appending; closed when its owner lets go of it.
struct AppendedFile: ~Copyable {
  private let descriptor: CInt
  private let path: String

  init(path: String) throws {
    let descriptor = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0o644)
    let code = errno
    guard descriptor != -1 else { throw ReportingError(path, cannot: "open", code: code) }
    self.descriptor = descriptor
    self.path = path
  }

  deinit {
    close(descriptor)
  }

  /// Appends all of `bytes` by one call or, on an error, nothing of it.
  func append(_ bytes: [UInt8]) throws {
    let end = lseek(descriptor, 0, SEEK_END)
    let count = write(descriptor, bytes, bytes.count)
    let code = errno
    guard count != bytes.count else { return }
    ftruncate(descriptor, end)
    throw ReportingError(path, cannot: "append", code: count == -1 ? code : ENOSPC)
  }

  /// Returns once the content is on the disk.
  func synchronize() throws {
    guard fsync(descriptor) == 0 else { throw ReportingError(path, cannot: "synchronize", code: errno) }
  }
}

/// Replaces a file's content: the old one or the new one is there at every instant.
func replaceFile(_ path: String, with content: [UInt8]) throws {
  let temporary = "\(path).tmp-\(getpid())"
  unlink(temporary)
  do {
    let file = try AppendedFile(path: temporary)
    try file.append(content)
    try file.synchronize()
    guard rename(temporary, path) == 0 else {
      throw ReportingError(path, cannot: "replace", code: errno)
    }
  } catch {
    unlink(temporary)
    throw error
  }
}
