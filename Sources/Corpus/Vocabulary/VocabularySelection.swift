import Platform

/// Which words of a training text become the vocabulary.
package struct VocabularySelection: Equatable, Sendable {
  /// The largest number of words, `<unk>` and `<eos>` included; nil for no limit.
  package var size: Int?
  /// The number of occurrences that a word needs.
  package var minCount: Int

  /// Selects the `size` most frequent words among those with at least `minCount` occurrences.
  package init(size: Int? = nil, minCount: Int = 1) {
    self.size = size
    self.minCount = minCount
  }

  /// Throws if no text can satisfy the selection.
  func validate() throws {
    if let size, size < 2 {
      throw MilmError("expected a vocabulary size of 2 or more (<unk> and <eos> count), found \(size)")
    }
    if minCount < 1 { throw MilmError("expected a minimum count of 1 or more, found \(minCount)") }
  }
}

extension Vocabulary {
  /// The vocabulary of a text that is given by its word counts.
  ///
  /// Words are sorted by descending count, ties by their bytes. `<unk>` and `<eos>` are always included, and count
  /// towards the selection's size; the count of `<unk>` includes those of all words that are not selected.
  ///
  /// - Parameter counts: words and their counts; repeated words add up. `<eos>` occurs once per line.
  /// - Throws: for an impossible selection, or a word that is empty or holds white space.
  package init(
    counts: some Sequence<(String, Int)>, selection: VocabularySelection = .init()
  ) throws {
    var words = WordTable()
    for (word, count) in counts { try words.add(word, count: count) }
    let ranking = try WordRanking(&words, lineCount: 0, selection: selection)
    var selected: [String] = []
    for id in ranking.order { selected.append(String(decoding: words.bytes(of: Int(id)), as: UTF8.self)) }
    try self.init(words: selected)
  }
}

/// The words of a vocabulary in their final order, as ids of a word table.
struct WordRanking {
  /// The table's ids of the vocabulary's words, by descending count, ties by their bytes.
  let order: [Int32]
  let unknownID: Int32
  let endOfSentenceID: Int32

  /// Selects from all words of a table; `<unk>` and `<eos>` are added if they are missing.
  ///
  /// In the table, the counts of words that are not selected are added to that of `<unk>`.
  ///
  /// - Parameter lineCount: added to the count of `<eos>`.
  init(_ words: inout WordTable, lineCount: Int, selection: VocabularySelection) throws {
    try selection.validate()
    let unknown = try words.add(Vocabulary.unknownWord, count: 0)
    let end = try words.add(Vocabulary.endOfSentenceWord, count: lineCount)
    let room = (selection.size ?? Int.max) - 2
    var ranks = words.ranks(atLeast: selection.minCount, without: [unknown, end])
    ranks.removeLast(max(0, ranks.count - room))
    let selectedCount = ranks.reduce(words.occurrenceCount(of: Int(unknown))) { $0 + $1.count }
    let totalCount = (0..<words.count).reduce(0) { $0 + words.occurrenceCount(of: $1) }
    let othersCount = totalCount - selectedCount - words.occurrenceCount(of: Int(end))
    try words.add(Vocabulary.unknownWord, count: othersCount)
    for special in [unknown, end] {
      let rank = words.rank(of: special)
      ranks.insert(rank, at: ranks.firstIndex { words.precedes(rank, $0) } ?? ranks.count)
    }
    let order = ranks.map(\.id)
    guard let unknownID = order.firstIndex(of: unknown), let endID = order.firstIndex(of: end) else {
      preconditionFailure("the special words are always selected")
    }
    self.order = order
    self.unknownID = Int32(unknownID)
    endOfSentenceID = Int32(endID)
  }

  /// The vocabulary's id of every word of the table, that of `<unk>` for words that were not selected.
  func finalIDs(tableCount: Int) -> [Int32] {
    var ids = [Int32](repeating: unknownID, count: tableCount)
    for (id, tableID) in order.enumerated() { ids[Int(tableID)] = Int32(id) }
    return ids
  }

  /// The content of `vocabulary.txt`: one word per line.
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
    /// The first eight bytes, which decide most ties without access to the table.
    let order: UInt64
    let id: Int32
  }

  /// Adds occurrences of a word and returns its id.
  @discardableResult
  mutating func add(_ word: String, count: Int) throws -> Int32 {
    var word = word
    return try word.withUTF8 { bytes in
      guard !bytes.isEmpty else { throw MilmError("expected words to count, found an empty one") }
      return add(UnsafeRawBufferPointer(bytes), count: count)
    }
  }

  /// The words with at least `minCount` occurrences except `others`, most frequent first, ties in the order of their
  /// bytes.
  fileprivate func ranks(atLeast minCount: Int, without others: [Int32]) -> [Rank] {
    var ranks: [Rank] = []
    ranks.reserveCapacity(count)
    for id in 0..<count where occurrenceCount(of: id) >= minCount && !others.contains(Int32(id)) {
      ranks.append(rank(of: Int32(id)))
    }
    ranks.sort { precedes($0, $1) }
    return ranks
  }

  fileprivate func rank(of id: Int32) -> Rank {
    Rank(count: occurrenceCount(of: Int(id)), order: order(of: Int(id)), id: id)
  }

  fileprivate func precedes(_ left: Rank, _ right: Rank) -> Bool {
    if left.count != right.count { return left.count > right.count }
    if left.order != right.order { return left.order < right.order }
    return bytes(of: Int(left.id)).lexicographicallyPrecedes(bytes(of: Int(right.id)))
  }
}
