import Foundation
import Platform

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

  private let file: OpenFile
  private let name: String

  init(in folder: URL) throws {
    name = folder.relativePath
    file = try OpenFile.unlinked(in: folder.path)
  }

  func append(_ ids: UnsafeBufferPointer<Int32>, counter: Int) throws {
    var header = Header(counter: counter, idCount: ids.count)
    try withUnsafeBytes(of: &header) { try file.write($0) }
    try file.write(UnsafeRawBufferPointer(ids))
  }

  /// Goes back to the first block.
  func rewind() throws {
    try file.seek(to: 0)
  }

  /// Reads the next block and says which counter's it is; nil behind the last.
  func next(into ids: inout TextIDs) throws -> Int? {
    var header = Header(counter: 0, idCount: 0)
    guard try withUnsafeMutableBytes(of: &header, { try file.readAll(into: $0) }) > 0 else { return nil }
    try ids.fill(header.idCount) {
      guard try file.readAll(into: $0) == $0.count else {
        throw MilmError("expected all ids in \(name), found fewer")
      }
    }
    return header.counter
  }
}
