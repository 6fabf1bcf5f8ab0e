/// Counts the words of the blocks that one thread gets, and keeps the blocks' ids.
///
/// `@unchecked Sendable`: one thread uses it at a time, and its maker only after all threads are done.
final class WordCounter: OrderedWorker, @unchecked Sendable {
  private let number: Int
  private let blocks: TextBlocks
  private let scratch: ScratchFile
  private let block = TextBlock()
  private var ids = TextIDs()
  private(set) var words = WordTable()
  private(set) var counts = EncodingCounts()

  /// - Parameter number: which of the counters this is; the ids in `scratch` are those of its own table.
  init(_ number: Int, _ blocks: TextBlocks, keepingIDsIn scratch: ScratchFile) {
    self.number = number
    self.blocks = blocks
    self.scratch = scratch
  }

  func take() throws -> Bool { try blocks.take(into: block) }

  func work() { blocks.prepare(block) { words.count($0, into: &ids) } }

  func deliver() throws {
    try blocks.count(block, lineCount: ids.lineCount)
    counts =
      counts
      + EncodingCounts(
        lineCount: ids.lineCount, tokenCount: ids.count, loneReturnCount: ids.loneReturnCount)
    try scratch.append(UnsafeBufferPointer(ids.ids), counter: number)
  }

  /// Gives the table away; the counter counts no more.
  func takeWords() -> WordTable {
    var taken = WordTable(minimumCapacity: 0)
    swap(&taken, &words)
    return taken
  }
}
