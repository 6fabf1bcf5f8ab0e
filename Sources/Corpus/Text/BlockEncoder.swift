import CKernels

/// What became of a text: how many lines and tokens it has, and how many of the tokens are `<unk>`.
struct EncodingCounts: Equatable {
  var lineCount = 0
  var tokenCount = 0
  var unknownTokenCount = 0
  /// Carriage returns that are no part of a line's end.
  var loneReturnCount = 0

  static func + (left: EncodingCounts, right: EncodingCounts) -> EncodingCounts {
    EncodingCounts(
      lineCount: left.lineCount + right.lineCount, tokenCount: left.tokenCount + right.tokenCount,
      unknownTokenCount: left.unknownTokenCount + right.unknownTokenCount,
      loneReturnCount: left.loneReturnCount + right.loneReturnCount)
  }
}

/// Turns the blocks that one thread gets into ids of a vocabulary.
///
/// `@unchecked Sendable`: one thread uses it at a time, and its maker only after all threads are done.
final class BlockEncoder: OrderedWorker, @unchecked Sendable {
  private let blocks: TextBlocks
  private let index: WordIndex
  private let sink: (UnsafeBufferPointer<Int32>) throws -> Void
  private let block = TextBlock()
  private var ids = TextIDs()
  private var unknownTokenCount = 0
  private(set) var counts = EncodingCounts()

  /// - Parameter sink: gets the ids of each block, in the order of the text.
  init(_ blocks: TextBlocks, index: WordIndex, sink: @escaping (UnsafeBufferPointer<Int32>) throws -> Void) {
    self.blocks = blocks
    self.index = index
    self.sink = sink
  }

  func take() throws -> Bool { try blocks.take(into: block) }

  func work() {
    blocks.prepare(block) { text in
      index.words.find(text, into: &ids)
      unknownTokenCount = index.finalIDs.replace(ids.ids)
    }
  }

  func deliver() throws {
    try blocks.count(block, lineCount: ids.lineCount)
    counts =
      counts
      + EncodingCounts(
        lineCount: ids.lineCount, tokenCount: ids.count, unknownTokenCount: unknownTokenCount,
        loneReturnCount: ids.loneReturnCount)
    try sink(UnsafeBufferPointer(ids.ids))
  }

  /// Encodes a text with several threads; `sink` gets the ids in their order.
  static func encode(
    _ blocks: TextBlocks, index: WordIndex, threadCount: Int,
    sink: @escaping (UnsafeBufferPointer<Int32>) throws -> Void
  ) throws -> EncodingCounts {
    let workers = (0..<max(1, threadCount)).map { _ in BlockEncoder(blocks, index: index, sink: sink) }
    try OrderedWork.run(workers)
    return workers.reduce(EncodingCounts()) { $0 + $1.counts }
  }
}
