import Foundation

/// An open file: closed when its owner lets go of it, and not inherited by programs this one starts.
struct OpenFile: ~Copyable {
  let descriptor: CInt
  let path: String

  private init(_ path: String, flags: CInt, action: String) throws(CheckpointError) {
    let descriptor = open(path, flags | O_CLOEXEC, 0o644)
    try check(descriptor, action, path)
    self.descriptor = descriptor
    self.path = path
  }

  deinit {
    close(descriptor)
  }

  /// Creates a file that must not exist yet.
  static func creating(_ path: String) throws(CheckpointError) -> OpenFile {
    try OpenFile(path, flags: O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, action: "create")
  }

  /// Opens a file to be locked, read and written, and creates it where there is none.
  static func updating(_ path: String) throws(CheckpointError) -> OpenFile {
    try OpenFile(path, flags: O_RDWR | O_CREAT | O_NOFOLLOW, action: "open")
  }

  /// Opens a regular file; anything else (a symbolic link, which could lead out of the run, a directory, a pipe,
  /// which could block for ever) is refused.
  static func reading(_ path: String) throws(CheckpointError) -> OpenFile {
    let file = try OpenFile(path, flags: O_RDONLY | O_NONBLOCK | O_NOFOLLOW, action: "open")
    guard try file.status().st_mode & S_IFMT == S_IFREG else {
      throw CheckpointError(path, "expected a file, found a directory or a device")
    }
    return file
  }

  /// Makes a directory's entries durable: creations, renames and removals in it.
  static func synchronizeDirectory(_ path: String) throws(CheckpointError) {
    let directory = try OpenFile(path, flags: O_RDONLY | O_DIRECTORY, action: "open the directory")
    try directory.synchronize()
  }

  /// The file's length now.
  func byteCount() throws(CheckpointError) -> Int {
    Int(try status().st_size)
  }

  /// Returns once the content is on the disk.
  func synchronize() throws(CheckpointError) {
    try check(fsync(descriptor), "synchronize", path)
  }

  /// Writes all of `bytes` at the current position.
  func write(_ bytes: UnsafeRawBufferPointer) throws(CheckpointError) {
    var rest = bytes
    while !rest.isEmpty {
      let count = Foundation.write(descriptor, rest.baseAddress, rest.count)
      let code = errno
      if count > 0 {
        rest = UnsafeRawBufferPointer(rebasing: rest[count...])
      } else if count == 0 || code != EINTR {
        throw CheckpointError(path, cannot: "write", code: count == 0 ? EIO : code)
      }
    }
  }

  /// Reads up to `buffer.count` bytes at the current position; 0 is the end of the file.
  func read(into buffer: UnsafeMutableRawBufferPointer) throws(CheckpointError) -> Int {
    while true {
      let count = Foundation.read(descriptor, buffer.baseAddress, buffer.count)
      let code = errno
      if count >= 0 { return count }
      guard code == EINTR else { throw CheckpointError(path, cannot: "read", code: code) }
    }
  }

  /// The whole content of a file of at most `limit` bytes.
  func readAll(limit: Int) throws -> [UInt8] {
    var content: [UInt8] = []
    var piece = [UInt8](repeating: 0, count: 64 << 10)
    while true {
      let count = try piece.withUnsafeMutableBytes { try read(into: $0) }
      if count == 0 { return content }
      content += piece[..<count]
      guard content.count <= limit else {
        throw CheckpointError(path, "expected at most \(limit) bytes, found more")
      }
    }
  }

  private func status() throws(CheckpointError) -> stat {
    var status = stat()
    try check(fstat(descriptor, &status), "examine", path)
    return status
  }
}
