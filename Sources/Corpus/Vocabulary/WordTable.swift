/// Distinct words and their ids, in the order they came, found by their bytes.
///
/// Open addressing with linear probing, at most half full. A slot holds the first eight bytes and the length,
/// so that most words are found without looking anywhere else.
struct WordTable: ~Copyable {
  private struct Slot {
    var prefix: UInt64 = 0
    /// 0 marks an empty slot: no word is empty.
    var byteCount: UInt32 = 0
    var id: Int32 = 0
  }

  private var slots: UnsafeMutableBufferPointer<Slot>
  private var arena = ByteBuffer(capacity: 1 << 16)
  /// Where each word begins in the arena, and where the last one ends.
  private var offsets = [0]

  init(minimumCapacity: Int = 1 << 12) {
    slots = Self.emptySlots(forWordCount: minimumCapacity)
  }

  deinit { slots.deallocate() }

  var count: Int { offsets.count - 1 }

  /// The bytes of the word with an id, without an end mark; valid until the next insertion.
  func bytes(of id: Int) -> UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(rebasing: arena.bytes[offsets[id]..<offsets[id + 1]])
  }

  /// The id of a word that was inserted before.
  func id(of word: Word) -> Int32? {
    let slot = slots[slotIndex(of: word)]
    return slot.byteCount == 0 ? nil : slot.id
  }

  /// The id of a word, which is the next number if the word is new.
  mutating func insert(_ word: Word) -> Int32 {
    let index = slotIndex(of: word)
    if slots[index].byteCount != 0 { return slots[index].id }
    let id = Int32(count)
    slots[index] = Slot(prefix: word.prefix, byteCount: UInt32(word.byteCount), id: id)
    arena.append(word.bytes)
    offsets.append(arena.count)
    if 2 * count > slots.count { grow() }
    return id
  }

  /// The slot that holds a word, or the empty one where it belongs.
  private func slotIndex(of word: Word) -> Int {
    let mask = slots.count &- 1
    var index = Int(truncatingIfNeeded: word.hash) & mask
    while true {
      let slot = slots[index]
      if slot.byteCount == 0 { return index }
      if slot.prefix == word.prefix && Int(slot.byteCount) == word.byteCount
        && (word.byteCount <= 8 || bytes(of: Int(slot.id)).elementsEqual(word.bytes))
      {
        return index
      }
      index = (index &+ 1) & mask
    }
  }

  private mutating func grow() {
    let old = slots
    slots = Self.emptySlots(forWordCount: old.count)
    for slot in old where slot.byteCount != 0 {
      guard let word = Word(bytes(of: Int(slot.id))) else { continue }
      slots[slotIndex(of: word)] = slot
    }
    old.deallocate()
  }

  private static func emptySlots(forWordCount wordCount: Int) -> UnsafeMutableBufferPointer<Slot> {
    var slotCount = 16
    while slotCount < 2 * wordCount { slotCount *= 2 }
    let slots = UnsafeMutableBufferPointer<Slot>.allocate(capacity: slotCount)
    slots.initialize(repeating: Slot())
    return slots
  }
}
