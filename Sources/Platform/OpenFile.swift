import Foundation

/// An open file: closed with its owner, and not inherited by child processes.
package struct OpenFile: ~Copyable {
  package let descriptor: CInt
  /// The path that errors name.
  package let path: String

  private init(
    _ path: String, flags: CInt, action: String = "open", reportedAs reportedPath: String? = nil
  ) throws(MilmError) {
    let descriptor = open(path, flags | O_CLOEXEC, 0o644)
    try check(descriptor, action, reportedPath ?? path)
    self.descriptor = descriptor
    self.path = reportedPath ?? path
  }

  private init(descriptor: CInt, path: String) {
    self.descriptor = descriptor
    self.path = path
  }

  deinit {
    close(descriptor)
  }

  /// Creates a file for writing, which must not exist yet; errors name `reportedPath` instead, if given.
  package static func creating(
    _ path: String, reportedAs reportedPath: String? = nil
  ) throws(MilmError) -> OpenFile {
    try OpenFile(
      path, flags: O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, action: "create", reportedAs: reportedPath)
  }

  /// Opens a file for reading, writing and locking, and creates it if there is none.
  package static func updating(_ path: String) throws(MilmError) -> OpenFile {
    try OpenFile(path, flags: O_RDWR | O_CREAT | O_NOFOLLOW)
  }

  /// Opens a regular file for appending, and creates it if there is none.
  ///
  /// A link, a device or a pipe, which could block forever, is refused.
  package static func appending(_ path: String) throws(MilmError) -> OpenFile {
    let file = try OpenFile(path, flags: O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK)
    try file.requireRegular()
    return file
  }

  /// Opens a device or a pipe that is there, for appending.
  package static func output(_ path: String) throws(MilmError) -> OpenFile {
    try OpenFile(path, flags: O_WRONLY | O_APPEND | O_NOCTTY)
  }

  /// Opens a regular file for reading.
  ///
  /// A directory, a device or a pipe, which could block forever, is refused, and so is a symbolic link unless
  /// `followsLinks` is set: inside a run, a link could lead out of it. A pointer to content that is stored elsewhere, such
  /// as Git LFS's, is refused by name.
  package static func reading(
    _ path: String, followsLinks: Bool = false
  ) throws(MilmError) -> OpenFile {
    let file = try OpenFile(path, flags: O_RDONLY | O_NONBLOCK | (followsLinks ? 0 : O_NOFOLLOW))
    let status = try file.requireRegular()
    if status.st_size <= StoragePointer.byteCountLimit {
      let content = UnsafeMutableRawBufferPointer.allocated(byteCount: StoragePointer.byteCountLimit)
      defer { free(content.baseAddress) }
      let count = try file.readAll(into: content, at: 0)
      if let pointer = StoragePointer(content[..<count]) { throw MilmError(path, found: pointer) }
    }
    return file
  }

  /// Opens a file, a pipe or a device for reading; errors name `reportedPath` instead of `path`, if given.
  package static func stream(
    _ path: String, action: String = "open", reportedAs reportedPath: String? = nil
  ) throws(MilmError) -> OpenFile {
    try OpenFile(path, flags: O_RDONLY, action: action, reportedAs: reportedPath)
  }

  /// Standard input, which stays open for others; errors name it.
  package static func standardInput() throws(MilmError) -> OpenFile {
    let name = "standard input"
    let descriptor = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0)
    try check(descriptor, "read", name)
    return OpenFile(descriptor: descriptor, path: name)
  }

  /// Opens a directory for locking and synchronizing; a link to one is refused.
  package static func directory(_ path: String) throws(MilmError) -> OpenFile {
    try OpenFile(path, flags: O_RDONLY | O_DIRECTORY | O_NOFOLLOW, action: "open the directory")
  }

  /// Opens a new unlinked file for reading and writing in `directory`: its space is freed when it is closed.
  package static func unlinked(in directory: String) throws(MilmError) -> OpenFile {
    let path = AtomicFile.temporaryPath(for: "\(directory)/scratch")
    let file = try OpenFile(path, flags: O_RDWR | O_CREAT | O_EXCL, action: "create")
    try check(unlink(path), "remove", path)
    return file
  }

  /// The file's length now.
  package func byteCount() throws(MilmError) -> Int {
    Int(try status().st_size)
  }

  /// Tells it from other files of the same file system.
  package func number() throws(MilmError) -> UInt64 { UInt64(try status().st_ino) }

  /// Whether the file has lost its name, and with it everything written from now on.
  package func isUnlinked() throws(MilmError) -> Bool { try status().st_nlink == 0 }

  /// Where the next read begins.
  package var position: Int { Int(lseek(descriptor, 0, SEEK_CUR)) }

  /// Whether there is a position to move; false for a pipe.
  package var isSeekable: Bool { lseek(descriptor, 0, SEEK_CUR) >= 0 }

  /// Takes the exclusive lock on the file without waiting; false if another open file holds it.
  package func lock() throws(MilmError) -> Bool {
    if flock(descriptor, LOCK_EX | LOCK_NB) == 0 { return true }
    let code = errno
    guard code == EWOULDBLOCK else { throw MilmError(path, cannot: "lock", code: code) }
    return false
  }

  /// Releases the lock; closing alone would leave it to a child that was forked but has not yet called `exec`.
  package func unlock() {
    flock(descriptor, LOCK_UN)
  }

  /// Returns once the content is on disk.
  package func synchronize() throws(MilmError) {
    try check(fsync(descriptor), "synchronize", path)
  }

  /// Cuts the file off after `byteCount` bytes.
  package func truncate(to byteCount: Int) throws(MilmError) {
    try check(ftruncate(descriptor, off_t(byteCount)), "truncate", path)
  }

  /// Whether a read would return at once, with bytes or the end, within this time.
  package func isReadable(withinMilliseconds milliseconds: CInt) -> Bool {
    var request = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
    return poll(&request, 1, milliseconds) > 0
  }

  /// Moves the current position to `offset` from the start.
  package func seek(to offset: Int) throws(MilmError) {
    guard lseek(descriptor, off_t(offset), SEEK_SET) >= 0 else { throw MilmError(path, cannot: "seek") }
  }

  /// Writes all of `bytes` at the current position.
  package func write(_ bytes: UnsafeRawBufferPointer) throws(MilmError) {
    try writeAll(bytes) { rest, _ in Foundation.write(descriptor, rest.baseAddress, rest.count) }
  }

  /// Writes all of `bytes` at `offset`; the current position stays.
  package func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws(MilmError) {
    try writeAll(bytes) { rest, written in
      pwrite(descriptor, rest.baseAddress, rest.count, off_t(offset + written))
    }
  }

  /// Appends all of `bytes` with one call, or nothing.
  package func append(_ bytes: [UInt8]) throws(MilmError) {
    let end = lseek(descriptor, 0, SEEK_END)
    let count = Foundation.write(descriptor, bytes, bytes.count)
    let code = errno
    guard count != bytes.count else { return }
    ftruncate(descriptor, end)
    throw MilmError(path, cannot: "append", code: count == -1 ? code : ENOSPC)
  }

  /// Reads up to `buffer.count` bytes at the current position; 0 is the end of the file.
  package func read(into buffer: UnsafeMutableRawBufferPointer) throws(MilmError) -> Int {
    while true {
      let count = Foundation.read(descriptor, buffer.baseAddress, buffer.count)
      let code = errno
      if count >= 0 { return count }
      guard code == EINTR else { throw MilmError(path, cannot: "read", code: code) }
    }
  }

  /// Fills `buffer` from the current position and returns the byte count, which is smaller only at the end of
  /// the file.
  package func readAll(into buffer: UnsafeMutableRawBufferPointer) throws(MilmError) -> Int {
    var filled = 0
    while filled < buffer.count {
      let count = try read(into: UnsafeMutableRawBufferPointer(rebasing: buffer[filled...]))
      if count == 0 { break }
      filled += count
    }
    return filled
  }

  /// Fills `buffer` from `offset` on and returns the byte count, which is smaller only at the end of the file; the
  /// current position stays.
  package func readAll(
    into buffer: UnsafeMutableRawBufferPointer, at offset: Int
  ) throws(MilmError) -> Int {
    var filled = 0
    while filled < buffer.count {
      let rest = UnsafeMutableRawBufferPointer(rebasing: buffer[filled...])
      let count = pread(descriptor, rest.baseAddress, rest.count, off_t(offset + filled))
      let code = errno
      if count == 0 { break }
      if count > 0 {
        filled += count
      } else if code != EINTR {
        throw MilmError(path, cannot: "read", code: code)
      }
    }
    return filled
  }

  /// The rest of the file, which must be at most `limit` bytes.
  package func readAll(limit: Int = .max) throws -> [UInt8] {
    var content: [UInt8] = []
    var piece = [UInt8](repeating: 0, count: 64 << 10)
    while true {
      let count = try piece.withUnsafeMutableBytes { try read(into: $0) }
      if count == 0 { return content }
      content += piece[..<count]
      guard content.count <= limit else {
        throw MilmError(path, "expected at most \(limit) bytes, found more")
      }
    }
  }

  /// The rest of a text in UTF-8 of at most `limit` bytes, without a byte-order mark at its start.
  ///
  /// A pointer to content that is stored elsewhere is refused by name.
  package func readText(limit: Int) throws -> String {
    var content = try readAll(limit: limit)[...]
    if let pointer = StoragePointer(content) { throw MilmError(path, found: pointer) }
    if content.starts(with: [0xEF, 0xBB, 0xBF]) { content = content.dropFirst(3) }
    guard let text = String(validating: content, as: UTF8.self) else {
      throw MilmError(path, "expected UTF-8 text")
    }
    return text
  }

  /// Calls `body` with every line in turn, without its newline; what follows the last newline is not complete.
  ///
  /// Lines of more than `limit` bytes are left out: memory stays bounded, whatever the file holds.
  package func forEachLine(
    limit: Int = 1 << 20, _ body: (_ line: UnsafeRawBufferPointer, _ isComplete: Bool) throws -> Void
  ) throws {
    let buffer = UnsafeMutableRawBufferPointer.allocated(byteCount: limit)
    defer { free(buffer.baseAddress) }
    var filled = 0
    var isTooLong = false
    while true {
      let count = try read(into: UnsafeMutableRawBufferPointer(rebasing: buffer[filled...]))
      if count == 0 { break }
      let end = filled + count
      var start = 0
      while let newline = buffer[max(start, filled)..<end].firstIndex(of: UInt8(ascii: "\n")) {
        if !isTooLong { try body(UnsafeRawBufferPointer(rebasing: buffer[start..<newline]), true) }
        isTooLong = false
        start = newline + 1
      }
      filled = end - start
      if filled == limit {
        isTooLong = true
        filled = 0
      } else if filled > 0, start > 0 {
        let rest = UnsafeRawBufferPointer(rebasing: buffer[start..<end])
        buffer.copyMemory(from: rest)
      }
    }
    if filled > 0, !isTooLong {
      try body(UnsafeRawBufferPointer(rebasing: buffer[..<filled]), false)
    }
  }

  /// Its status; throws where it is no regular file.
  @discardableResult
  private func requireRegular() throws(MilmError) -> stat {
    let status = try self.status()
    guard status.st_mode & S_IFMT == S_IFREG else {
      throw MilmError(path, "expected a file, found a directory or a device")
    }
    return status
  }

  private func status() throws(MilmError) -> stat {
    var status = stat()
    try check(fstat(descriptor, &status), "examine", path)
    return status
  }

  private func writeAll(
    _ bytes: UnsafeRawBufferPointer, by write: (UnsafeRawBufferPointer, Int) -> Int
  ) throws(MilmError) {
    var written = 0
    while written < bytes.count {
      let count = write(UnsafeRawBufferPointer(rebasing: bytes[written...]), written)
      let code = errno
      if count > 0 {
        written += count
      } else if count == 0 || code != EINTR {
        throw MilmError(path, cannot: "write", code: count == 0 ? EIO : code)
      }
    }
  }
}

/// Opens a regular file for reading, nil if there is none; a link, a directory, a device or a pipe is refused.
package func openIfPresent(_ path: String) throws(MilmError) -> OpenFile? {
  if case .absent = try FileEntry(at: path) { return nil }
  return try OpenFile.reading(path)
}

/// The content of a regular file, nil if there is none; a link, a directory, a device or a pipe is refused.
package func regularFileContent(_ path: String) throws -> [UInt8]? {
  try openIfPresent(path)?.readAll()
}

/// The content of a file that the user names, nil if there is none; links are followed.
package func readIfPresent(_ path: String, limit: Int = .max) throws -> [UInt8]? {
  var status = stat()
  if stat(path, &status) == -1, errno == ENOENT || errno == ENOTDIR { return nil }
  return try OpenFile.reading(path, followsLinks: true).readAll(limit: limit)
}
