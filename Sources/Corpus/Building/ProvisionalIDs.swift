import Foundation
import Platform

// The training text is read once, but its vocabulary is known only at the end. Until then its words have
// provisional ids: those of the word table of the thread that read them. `WordCounter` assigns and stores them,
// `TokenRenumberer` replaces them by the final ones.

/// One thread's counts of the words in its blocks; the blocks' provisional ids are stored in a scratch file.
///
/// `@unchecked Sendable`: used by one thread at a time, and by its owner after all threads are done.
final class WordCounter: OrderedWorker, @unchecked Sendable {
  private let number: Int
  private let blocks: TextBlocks
  private let scratch: ScratchFile
  private let block = TextBlock()
  private var ids = TextIDs()
  private(set) var words = WordTable()
  private(set) var counts = EncodingCounts()

  /// - Parameter number: identifies this counter, and so the table of its ids in `scratch`.
  init(_ number: Int, _ blocks: TextBlocks, keepingIDsIn scratch: ScratchFile) {
    self.number = number
    self.blocks = blocks
    self.scratch = scratch
  }

  func next() throws -> Bool { try blocks.next(into: block) }

  func work() { blocks.prepare(block) { words.count($0, into: &ids) } }

  func deliver() throws {
    try blocks.count(block, lineCount: ids.lineCount)
    counts =
      counts
      + EncodingCounts(
        lineCount: ids.lineCount, tokenCount: ids.count, loneReturnCount: ids.loneReturnCount)
    try scratch.append(UnsafeBufferPointer(ids.ids), counter: number)
  }

  /// Moves the table out; the counter must not be used after that.
  func removeWords() -> WordTable {
    var removed = WordTable(minimumCapacity: 0)
    swap(&removed, &words)
    return removed
  }
}

/// The provisional ids of a text's blocks in an unlinked file, four bytes per token.
///
/// A block is the number of its counter, the number of ids, and the ids.
///
/// `@unchecked Sendable`: `append` and `next` are called by one thread at a time, and never concurrently.
final class ScratchFile: @unchecked Sendable {
  private struct Header {
    var counter: Int
    var idCount: Int
  }

  private let file: OpenFile
  private let name: String

  init(in directory: URL) throws {
    name = directory.relativePath
    file = try OpenFile.unlinked(in: directory.path)
  }

  func append(_ ids: UnsafeBufferPointer<Int32>, counter: Int) throws {
    var header = Header(counter: counter, idCount: ids.count)
    try withUnsafeBytes(of: &header) { try file.write($0) }
    try file.write(UnsafeRawBufferPointer(ids))
  }

  /// Returns to the first block.
  func rewind() throws {
    try file.seek(to: 0)
  }

  /// Reads the next block and returns the number of its counter, nil after the last block.
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

/// Replaces the provisional ids of stored blocks by final ones and writes them, as one thread of several.
///
/// `@unchecked Sendable`: used by one thread at a time, and by its owner after all threads are done.
final class TokenRenumberer: OrderedWorker, @unchecked Sendable {
  private let scratch: ScratchFile
  private let finalIDs: [FinalIDs]
  private let writer: TokenFileWriter
  private let onWrite: (_ tokenCount: Int) throws -> Void
  private var ids = TextIDs()
  private var counter = 0
  private var blockUnknownCount = 0
  private(set) var unknownTokenCount = 0

  /// - Parameter finalIDs: for each counter, the final ids of its table.
  init(
    _ scratch: ScratchFile, finalIDs: [FinalIDs], writer: TokenFileWriter,
    onWrite: @escaping (_ tokenCount: Int) throws -> Void
  ) {
    self.scratch = scratch
    self.finalIDs = finalIDs
    self.writer = writer
    self.onWrite = onWrite
  }

  func next() throws -> Bool {
    guard let counter = try scratch.next(into: &ids) else { return false }
    self.counter = counter
    return true
  }

  func work() { blockUnknownCount = finalIDs[counter].replace(ids.ids) }

  func deliver() throws {
    unknownTokenCount += blockUnknownCount
    try writer.append(UnsafeBufferPointer(ids.ids))
    try onWrite(writer.count)
  }
}
