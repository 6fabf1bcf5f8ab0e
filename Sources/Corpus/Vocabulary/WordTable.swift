import CKernels

/// Distinct words, their ids in the order they came, and how often each was counted; found by their bytes.
///
/// Memory, for each word: its bytes, 16 for its number and end, and 16 to 51 for its slot.
struct WordTable: ~Copyable {
  private var table: CKernels_WordTable
  private var arenaByteCount: Int

  init(minimumCapacity: Int = 1 << 11) {
    arenaByteCount = 1 << 16
    table = CKernels_WordTable(
      slots: nil, slotMask: 0, bytes: .allocate(capacity: arenaByteCount), ends: nil, counts: nil,
      wordCount: 0, wordLimit: 0)
    makeRoom(forSlotCount: Self.slotCount(forWordCount: minimumCapacity))
  }

  deinit {
    table.slots.deallocate()
    table.bytes.deallocate()
    table.ends.deallocate()
    table.counts.deallocate()
  }

  /// How many words there are.
  var count: Int { Int(table.wordCount) }
  /// How many bytes all words have together.
  var byteCount: Int { Int(table.ends[count]) }

  /// The bytes of the word with an id, without an end mark; valid until the next insertion.
  func bytes(of id: Int) -> UnsafeRawBufferPointer {
    let start = Int(table.ends[id])
    return UnsafeRawBufferPointer(start: table.bytes + start, count: Int(table.ends[id + 1]) - start)
  }

  /// How often the word with an id was counted.
  func occurrenceCount(of id: Int) -> Int { Int(table.counts[id]) }

  /// The id of a word that is not empty, if it was inserted before.
  func id(of word: UnsafeRawBufferPointer) -> Int32? {
    let slot = slot(of: word)
    return slot.pointee.byteCount == 0 ? nil : slot.pointee.id
  }

  /// Counts a word that is not empty `count` times more; its id is the next number if the word is new.
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
    // The slot may have moved with the growing of the table.
    slot(of: word).initialize(
      to: CKernels_WordSlot(prefix: prefix(word), byteCount: UInt32(word.count), id: Int32(id)))
    return Int32(id)
  }

  /// Counts the words of a sealed text and appends their ids to `ids`.
  mutating func count(_ text: borrowing ByteBuffer, into ids: inout TextIDs) {
    makeRoom(forByteCount: text.count)
    ids.take(text) { cursor in
      while !CKernels_wordsCount(&table, &cursor) { makeRoom(forSlotCount: 2 * slotCount) }
    }
  }

  /// Puts the ids of a sealed text's words into `ids`; `CKernels_unknownID` stands for those that are not here.
  func find(_ text: borrowing ByteBuffer, into ids: inout TextIDs) {
    ids.take(text) { cursor in
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

  // MARK: Room

  private var slotCount: Int { Int(table.slotMask) + 1 }

  private static func slotCount(forWordCount wordCount: Int) -> Int {
    var slotCount = 1 << 10
    while wordLimit(forSlotCount: slotCount) < wordCount { slotCount *= 2 }
    return slotCount
  }

  /// Fewer probes against more memory: a table is at most five eighths full.
  private static func wordLimit(forSlotCount slotCount: Int) -> Int { slotCount / 8 * 5 }

  private mutating func makeRoom(forSlotCount slotCount: Int) {
    table.slots?.deallocate()
    table.slots = .allocate(capacity: slotCount)
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
    let new = UnsafeMutablePointer<Element>.allocate(capacity: capacity)
    if let old {
      new.moveInitialize(from: old, count: count)
      old.deallocate()
    }
    return new
  }
}

/// The ids of one text after another, in memory that is used again, and what was found in the texts.
struct TextIDs: ~Copyable {
  private var storage = UnsafeMutableBufferPointer<Int32>(start: nil, count: 0)
  private(set) var count = 0
  private(set) var lineCount = 0
  private(set) var loneReturnCount = 0

  deinit { storage.deallocate() }

  /// The ids of the last text.
  var ids: UnsafeMutableBufferPointer<Int32> { UnsafeMutableBufferPointer(rebasing: storage[..<count]) }

  /// Lets `body` put the ids of a sealed text in the place of those of an earlier one.
  fileprivate mutating func take(_ text: borrowing ByteBuffer, _ body: (inout CKernels_TextCursor) -> Void) {
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

  /// Room for `count` ids, which `body` fills.
  mutating func fill(_ count: Int, _ body: (UnsafeMutableRawBufferPointer) throws -> Void) rethrows {
    reserve(count)
    self.count = count
    try body(UnsafeMutableRawBufferPointer(ids))
  }

  private mutating func reserve(_ capacity: Int) {
    guard storage.count < capacity else { return }
    storage.deallocate()
    storage = .allocate(capacity: capacity)
  }
}
