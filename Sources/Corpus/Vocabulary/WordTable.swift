import CKernels
import Foundation
import Platform

/// A hash table of distinct words, found by their bytes: ids in order of first occurrence, and counts.
///
/// Memory per word: its bytes, 16 for its count and end, and 16 to 51 for its slot.
struct WordTable: ~Copyable {
  private var table: CKernels_WordTable
  private var arenaByteCount: Int

  init(minimumCapacity: Int = 1 << 11) {
    arenaByteCount = 1 << 16
    table = CKernels_WordTable(
      slots: nil, slotMask: 0, bytes: .allocated(capacity: arenaByteCount), ends: nil, counts: nil,
      wordCount: 0, wordLimit: 0)
    makeRoom(forSlotCount: Self.slotCount(forWordCount: minimumCapacity))
  }

  deinit {
    free(table.slots)
    free(table.bytes)
    free(table.ends)
    free(table.counts)
  }

  /// Distinct words.
  var count: Int { Int(table.wordCount) }
  /// The bytes of all words together.
  var byteCount: Int { Int(table.ends[count]) }

  /// The bytes of the word with an id, valid until the next insertion.
  func bytes(of id: Int) -> UnsafeRawBufferPointer {
    let start = Int(table.ends[id])
    return UnsafeRawBufferPointer(start: table.bytes + start, count: Int(table.ends[id + 1]) - start)
  }

  /// How often the word with an id was counted.
  func occurrenceCount(of id: Int) -> Int { Int(table.counts[id]) }

  /// The id of a nonempty word, nil if it is not in the table.
  func id(of word: UnsafeRawBufferPointer) -> Int32? {
    let slot = slot(of: word)
    return slot.pointee.byteCount == 0 ? nil : slot.pointee.id
  }

  /// Adds `count` occurrences of a nonempty word; a new word gets the next id.
  @discardableResult
  mutating func add(_ word: UnsafeRawBufferPointer, count: Int) -> Int32 {
    let found = slot(of: word)
    if found.pointee.byteCount != 0 {
      table.counts[Int(found.pointee.id)] += UInt64(count)
      return found.pointee.id
    }
    if table.wordCount == table.wordLimit { makeRoom(forSlotCount: 2 * slotCount) }
    makeRoom(forByteCount: word.count)
    let id = self.count
    let start = Int(table.ends[id])
    UnsafeMutableRawBufferPointer(start: table.bytes + start, count: word.count).copyMemory(from: word)
    table.ends[id + 1] = UInt64(start + word.count)
    table.counts[id] = UInt64(count)
    table.wordCount += 1
    // The slot may have moved when the table grew.
    slot(of: word).initialize(
      to: CKernels_WordSlot(prefix: prefix(word), byteCount: UInt32(word.count), id: Int32(id)))
    return Int32(id)
  }

  /// Counts the words of a sealed text and appends their ids to `ids`.
  mutating func count(_ text: borrowing ByteBuffer, into ids: inout TextIDs) {
    makeRoom(forByteCount: text.count)
    ids.fill(from: text) { cursor in
      while !CKernels_wordsCount(&table, &cursor) { makeRoom(forSlotCount: 2 * slotCount) }
    }
  }

  /// Looks up the ids of a sealed text's words; `CKernels_unknownID` stands for words that are not in the table.
  func find(_ text: borrowing ByteBuffer, into ids: inout TextIDs) {
    ids.fill(from: text) { cursor in
      withUnsafePointer(to: table) { CKernels_wordsFind($0, &cursor) }
    }
  }

  private func slot(of word: UnsafeRawBufferPointer) -> UnsafeMutablePointer<CKernels_WordSlot> {
    withUnsafePointer(to: table) {
      table.slots + CKernels_wordSlot($0, word.assumingMemoryBound(to: UInt8.self).baseAddress, word.count)
    }
  }

  /// The first eight bytes as a number that orders words as their bytes do.
  func order(of id: Int) -> UInt64 { prefix(bytes(of: id)).byteSwapped }

  private func prefix(_ word: UnsafeRawBufferPointer) -> UInt64 {
    word.prefix(8).reversed().reduce(0) { $0 << 8 | UInt64($1) }
  }

  // MARK: Growth

  private var slotCount: Int { Int(table.slotMask) + 1 }

  private static func slotCount(forWordCount wordCount: Int) -> Int {
    var slotCount = 1 << 10
    while wordLimit(forSlotCount: slotCount) < wordCount { slotCount *= 2 }
    return slotCount
  }

  /// At most five eighths full: fewer probes at the cost of more memory.
  private static func wordLimit(forSlotCount slotCount: Int) -> Int { slotCount / 8 * 5 }

  private mutating func makeRoom(forSlotCount slotCount: Int) {
    free(table.slots)
    table.slots = .allocated(capacity: slotCount)
    table.slots.initialize(repeating: CKernels_WordSlot(), count: slotCount)
    table.slotMask = UInt64(slotCount - 1)
    let wordLimit = Self.wordLimit(forSlotCount: slotCount)
    table.ends = grown(table.ends, from: table.ends == nil ? 0 : count + 1, to: wordLimit + 1)
    if count == 0 { table.ends[0] = 0 }
    table.counts = grown(table.counts, from: count, to: wordLimit)
    table.wordLimit = UInt64(wordLimit)
    CKernels_wordsPlace(&table)
  }

  private mutating func makeRoom(forByteCount byteCount: Int) {
    let usedByteCount = self.byteCount
    guard usedByteCount + byteCount > arenaByteCount else { return }
    arenaByteCount = max(2 * arenaByteCount, usedByteCount + byteCount)
    table.bytes = grown(table.bytes, from: usedByteCount, to: arenaByteCount)
  }

  private func grown<Element>(
    _ old: UnsafeMutablePointer<Element>?, from count: Int, to capacity: Int
  ) -> UnsafeMutablePointer<Element> {
    let new = UnsafeMutablePointer<Element>.allocated(capacity: capacity)
    if let old {
      new.moveInitialize(from: old, count: count)
      free(old)
    }
    return new
  }
}

/// The ids and counts of one block of text, in memory that is reused for the next.
struct TextIDs: ~Copyable {
  private var storage = UnsafeMutableBufferPointer<Int32>(start: nil, count: 0)
  private(set) var count = 0
  private(set) var lineCount = 0
  private(set) var loneReturnCount = 0

  deinit { free(storage.baseAddress) }

  /// The ids of the block.
  var ids: UnsafeMutableBufferPointer<Int32> { UnsafeMutableBufferPointer(rebasing: storage[..<count]) }

  /// Lets `body` overwrite the ids with those of a sealed text.
  fileprivate mutating func fill(
    from text: borrowing ByteBuffer, _ body: (inout CKernels_TextCursor) -> Void
  ) {
    reserve(text.count)
    var cursor = CKernels_TextCursor()
    cursor.text = UnsafePointer(text.base.assumingMemoryBound(to: UInt8.self))
    cursor.byteCount = text.count
    cursor.ids = storage.baseAddress
    body(&cursor)
    count = cursor.idCount
    lineCount = cursor.lineCount
    loneReturnCount = cursor.loneReturnCount
  }

  /// Overwrites the ids with `count` new ones, which `body` writes.
  mutating func fill(_ count: Int, _ body: (UnsafeMutableRawBufferPointer) throws -> Void) rethrows {
    reserve(count)
    self.count = count
    try body(UnsafeMutableRawBufferPointer(ids))
  }

  private mutating func reserve(_ capacity: Int) {
    guard storage.count < capacity else { return }
    free(storage.baseAddress)
    storage = .allocated(capacity: capacity)
  }
}

/// A complete table of words and the id that each has in a vocabulary.
///
/// `@unchecked Sendable`: immutable.
final class WordIndex: @unchecked Sendable {
  let words: WordTable
  let finalIDs: FinalIDs

  init(_ words: consuming WordTable, finalIDs: FinalIDs) {
    self.words = words
    self.finalIDs = finalIDs
  }

  /// The vocabulary's id of a word, nil if it has none.
  func id(of word: String) -> Int32? { words.id(of: word).map { finalIDs[Int($0)] } }
}

extension WordTable {
  /// The id of a word, nil if it is not in the table.
  func id(of word: String) -> Int32? {
    var word = word
    return word.withUTF8 { id(of: UnsafeRawBufferPointer($0)) }
  }
}

/// Maps ids of a word table to ids of a vocabulary.
struct FinalIDs: Sendable {
  /// The table's two marks, for unknown words and line ends, come before its words.
  private static let firstWord = 2
  private let ids: [Int32]
  private let unknownID: Int32

  /// - Parameter ids: the vocabulary's id of each word of the table.
  init(_ ids: some Collection<Int32>, unknownID: Int32, endOfSentenceID: Int32) {
    precondition(CKernels_unknownID == -2 && CKernels_lineEndID == -1)
    self.ids = [unknownID, endOfSentenceID] + ids
    self.unknownID = unknownID
  }

  subscript(tableID: Int) -> Int32 { ids[tableID + Self.firstWord] }

  /// Replaces the table's ids by the vocabulary's and returns how many are `<unk>`.
  func replace(_ tokens: UnsafeMutableBufferPointer<Int32>) -> Int {
    var unknownCount = 0
    ids.withUnsafeBufferPointer { ids in
      for position in tokens.indices {
        let id = ids[Int(tokens[position]) &+ Self.firstWord]
        tokens[position] = id
        unknownCount &+= id == unknownID ? 1 : 0
      }
    }
    return unknownCount
  }
}
