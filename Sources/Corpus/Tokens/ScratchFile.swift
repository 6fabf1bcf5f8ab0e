import Foundation

/// The ids of a text's blocks until their final ids are known: a file without a name, gone with its last user.
///
/// It takes four bytes a token on the disk of the folder it is in. What counts as one block is an id of the
/// counter whose table the block's ids belong to, the number of ids, and the ids.
///
/// `@unchecked Sendable`: `append` and `next` are each called by one thread at a time, and not both at once.
final class ScratchFile: @unchecked Sendable {
  private struct Header {
    var counter: Int
    var idCount: Int
  }

  private let handle: FileHandle
  private let name: String

  init(in folder: URL) throws {
    name = folder.relativePath
    let path = folder.appendingPathComponent("scratch").path
    let descriptor = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { throw CorpusError.system("write", path) }
    handle = FileHandle(fileDescriptor: descriptor, closeOnDealloc: true)
    guard unlink(path) == 0 else { throw CorpusError.system("remove", path) }
  }

  func append(_ ids: UnsafeBufferPointer<Int32>, counter: Int) throws {
    var header = Header(counter: counter, idCount: ids.count)
    try withUnsafeBytes(of: &header) { try write($0) }
    try write(UnsafeRawBufferPointer(ids))
  }

  /// Goes back to the first block.
  func rewind() throws {
    guard lseek(handle.fileDescriptor, 0, SEEK_SET) == 0 else { throw CorpusError.system("read", name) }
  }

  /// Reads the next block and says which counter's it is; nil behind the last.
  func next(into ids: inout TextIDs) throws -> Int? {
    var header = Header(counter: 0, idCount: 0)
    guard try withUnsafeMutableBytes(of: &header, { try read($0) }) > 0 else { return nil }
    try ids.fill(header.idCount) {
      guard try read($0) == $0.count else { throw CorpusError("expected all ids in \(name), found fewer") }
    }
    return header.counter
  }

  private func write(_ bytes: UnsafeRawBufferPointer) throws {
    var rest = bytes
    while !rest.isEmpty {
      let count = Foundation.write(handle.fileDescriptor, rest.baseAddress, rest.count)
      if count > 0 {
        rest = UnsafeRawBufferPointer(rebasing: rest[count...])
      } else if errno != EINTR {
        throw CorpusError.system("write", name)
      }
    }
  }

  private func read(_ bytes: UnsafeMutableRawBufferPointer) throws -> Int {
    var filled = 0
    while filled < bytes.count {
      let count = Foundation.read(
        handle.fileDescriptor, bytes.baseAddress.map { $0 + filled }, bytes.count - filled)
      if count == 0 { break }
      guard count > 0 || errno == EINTR else { throw CorpusError.system("read", name) }
      filled += max(count, 0)
    }
    return filled
  }
}
