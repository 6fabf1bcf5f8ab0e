import Platform

/// The words of a vocabulary in their final order, as ids of a table of counted words.
struct WordRanking {
  /// The table's ids of the vocabulary's words: by falling count, ties by their bytes.
  let order: [Int32]
  let unknownID: Int32
  let endOfSentenceID: Int32

  /// Selects from all words that were counted; `<unk>` and `<eos>` are added where they are missing.
  ///
  /// - Parameter lineCount: counts as that many more `<eos>`.
  init(_ words: inout WordTable, lineCount: Int, selection: VocabularySelection) throws {
    try selection.validate()
    let unknown = try words.add(Vocabulary.unknownWord, count: 0)
    let end = try words.add(Vocabulary.endOfSentenceWord, count: lineCount)
    var room = (selection.size ?? Int.max) - 2
    var order: [Int32] = []
    for rank in words.ranks(atLeast: selection.minCount, and: [unknown, end]) {
      if rank.id != unknown && rank.id != end {
        guard room > 0 else { continue }
        room -= 1
      }
      order.append(rank.id)
    }
    guard let unknownID = order.firstIndex(of: unknown), let endID = order.firstIndex(of: end) else {
      preconditionFailure("the special words are always selected")
    }
    self.order = order
    self.unknownID = Int32(unknownID)
    endOfSentenceID = Int32(endID)
  }

  /// The id in the vocabulary for every word of the table; that of `<unk>` where it was not selected.
  func finalIDs(tableCount: Int) -> [Int32] {
    var ids = [Int32](repeating: unknownID, count: tableCount)
    for (id, tableID) in order.enumerated() { ids[Int(tableID)] = Int32(id) }
    return ids
  }

  /// What `vocabulary.txt` holds: one word a line.
  func fileBytes(_ words: borrowing WordTable) -> ByteBuffer {
    var bytes = ByteBuffer(capacity: 16 * order.count)
    for id in order {
      bytes.append(words.bytes(of: Int(id)))
      bytes.append(UInt8(ascii: "\n"))
    }
    return bytes
  }
}

extension WordTable {
  fileprivate struct Rank {
    let count: Int
    /// The first eight bytes decide most ties without a look at the table.
    let order: UInt64
    let id: Int32
  }

  /// Adds occurrences of one word and returns its id.
  @discardableResult
  mutating func add(_ word: String, count: Int) throws -> Int32 {
    var word = word
    return try word.withUTF8 { bytes in
      guard !bytes.isEmpty else { throw MilmError("expected words to count, found an empty one") }
      return add(UnsafeRawBufferPointer(bytes), count: count)
    }
  }

  /// The words that were counted often enough, and `special` ones, the most frequent first, ties in the
  /// order of their bytes.
  fileprivate func ranks(atLeast minCount: Int, and special: [Int32]) -> [Rank] {
    var ranks: [Rank] = []
    ranks.reserveCapacity(count)
    for id in 0..<count {
      let occurrences = occurrenceCount(of: id)
      guard occurrences >= minCount || special.contains(Int32(id)) else { continue }
      ranks.append(Rank(count: occurrences, order: order(of: id), id: Int32(id)))
    }
    ranks.sort { left, right in
      if left.count != right.count { return left.count > right.count }
      if left.order != right.order { return left.order < right.order }
      return bytes(of: Int(left.id)).lexicographicallyPrecedes(bytes(of: Int(right.id)))
    }
    return ranks
  }
}
