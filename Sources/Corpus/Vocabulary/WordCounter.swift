/// How often each word occurs in a text, and how many lines it has.
struct WordCounts: ~Copyable {
  private(set) var table = WordTable()
  private(set) var counts: [Int] = []
  private(set) var lineCount = 0

  /// All words and line ends together.
  var tokenCount: Int { counts.reduce(lineCount, +) }

  /// Adds the words and line ends of a text.
  mutating func add(_ text: borrowing ByteBuffer) {
    var scanner = WordScanner(text)
    while let item = scanner.nextItem() {
      switch item {
      case .lineEnd: lineCount &+= 1
      case .word(let word): add(word, count: 1)
      }
    }
  }

  /// Adds what another part of the text has.
  mutating func add(_ other: borrowing WordCounts) {
    lineCount += other.lineCount
    for id in 0..<other.table.count {
      guard let word = Word(other.table.bytes(of: id)) else { continue }
      add(word, count: other.counts[id])
    }
  }

  /// Adds occurrences of one word and returns its id in `table`.
  @discardableResult
  mutating func add(_ word: String, count: Int) throws -> Int {
    var word = word
    return try word.withUTF8 { bytes in
      guard let word = Word(UnsafeRawBufferPointer(bytes)) else {
        throw CorpusError("expected words to count, found an empty one")
      }
      return add(word, count: count)
    }
  }

  /// The ids of all words, the most frequent first, ties in the order of their bytes.
  func idsByFallingCount() -> [Int] {
    // The first eight bytes, first one highest, decide most ties without a look at the table.
    struct Rank {
      let count: Int
      let prefix: UInt64
      let id: Int
    }
    var ranks = (0..<table.count).map { id in
      Rank(count: counts[id], prefix: Word(table.bytes(of: id))?.prefix.byteSwapped ?? 0, id: id)
    }
    ranks.sort { left, right in
      if left.count != right.count { return left.count > right.count }
      if left.prefix != right.prefix { return left.prefix < right.prefix }
      return table.bytes(of: left.id).lexicographicallyPrecedes(table.bytes(of: right.id))
    }
    return ranks.map(\.id)
  }

  @discardableResult
  private mutating func add(_ word: Word, count: Int) -> Int {
    let id = Int(table.insert(word))
    if id == counts.count { counts.append(0) }
    counts[id] &+= count
    return id
  }
}

/// Counts the words of the blocks that one thread gets.
///
/// `@unchecked Sendable`: one thread uses it at a time, and its maker only after all threads are done.
final class WordCounter: BlockWorker, @unchecked Sendable {
  private(set) var counts = WordCounts()

  func process(_ text: borrowing ByteBuffer) { counts.add(text) }

  func deliver() {}

  /// The counts of several workers together.
  static func total(of workers: [WordCounter]) -> WordCounts {
    var total = WordCounts()
    for worker in workers { total.add(worker.counts) }
    return total
  }
}
