import CKernels
import Foundation

/// A text encoded as tokens of a vocabulary.
package struct EncodedText: Sendable, Equatable {
  /// The tokens, with one `<eos>` per line.
  package let tokens: TokenArray
  package let lineCount: Int
  /// The number of `<unk>` tokens.
  package let unknownTokenCount: Int
}

extension Vocabulary {
  /// The tokens of a text file, plain or compressed (zstd, gzip, zip with one file in it); a last line without a
  /// newline counts as a line.
  ///
  /// - Parameter tokenizing: whether the file is raw text that must be tokenized first.
  /// - Throws: if the file cannot be read or is not text.
  package func encode(
    contentsOf url: URL, tokenizing: Bool = false, threadCount: Int = 2
  ) throws -> EncodedText {
    let source = TextSource.file(url)
    _ = try source.storedByteCount()
    return try encode(source, tokenizing: tokenizing, endsLastLine: true, threadCount: threadCount)
  }

  /// The tokens of standard input, plain or compressed (zstd, gzip), like those of a file.
  package func encodeStandardInput(tokenizing: Bool = false, threadCount: Int = 2) throws -> EncodedText {
    try encode(.standardInput, tokenizing: tokenizing, endsLastLine: true, threadCount: threadCount)
  }

  /// The tokens of a text in memory.
  ///
  /// - Parameter endsLastLine: whether a last line without a newline gets an `<eos>`; false for a prompt that is
  ///   to be continued.
  package func encode(
    _ text: String, tokenizing: Bool = false, endsLastLine: Bool = true
  ) throws -> EncodedText {
    let source = TextSource.memory(name: "the text", bytes: Array(text.utf8))
    return try encode(source, tokenizing: tokenizing, endsLastLine: endsLastLine, threadCount: 1)
  }

  private func encode(
    _ source: TextSource, tokenizing: Bool, endsLastLine: Bool, threadCount: Int
  ) throws -> EncodedText {
    let blocks = TextBlocks(
      [source], tokenizer: tokenizing ? Tokenizer() : nil, endsLastLine: endsLastLine)
    var ids: [Int32] = []
    let counts = try BlockEncoder.encode(blocks, index: index, threadCount: threadCount) {
      ids.append(contentsOf: $0)
    }
    return EncodedText(
      tokens: TokenArray(ids), lineCount: counts.lineCount, unknownTokenCount: counts.unknownTokenCount)
  }
}

/// Counts of an encoded text.
struct EncodingCounts: Equatable {
  var lineCount = 0
  var tokenCount = 0
  var unknownTokenCount = 0
  /// Carriage returns that are not part of a line end.
  var loneReturnCount = 0

  static func + (left: EncodingCounts, right: EncodingCounts) -> EncodingCounts {
    EncodingCounts(
      lineCount: left.lineCount + right.lineCount, tokenCount: left.tokenCount + right.tokenCount,
      unknownTokenCount: left.unknownTokenCount + right.unknownTokenCount,
      loneReturnCount: left.loneReturnCount + right.loneReturnCount)
  }
}

/// One thread's encoder of blocks into ids of a vocabulary.
///
/// `@unchecked Sendable`: used by one thread at a time, and by its owner after all threads are done.
final class BlockEncoder: OrderedWorker, @unchecked Sendable {
  private let blocks: TextBlocks
  private let index: WordIndex
  private let sink: (UnsafeBufferPointer<Int32>) throws -> Void
  private let block = TextBlock()
  private var ids = TextIDs()
  private var unknownTokenCount = 0
  private(set) var counts = EncodingCounts()

  /// - Parameter sink: receives the ids of each block, in the order of the text.
  init(_ blocks: TextBlocks, index: WordIndex, sink: @escaping (UnsafeBufferPointer<Int32>) throws -> Void) {
    self.blocks = blocks
    self.index = index
    self.sink = sink
  }

  func next() throws -> Bool { try blocks.next(into: block) }

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

  /// Encodes a text with several threads; `sink` receives the ids in order.
  static func encode(
    _ blocks: TextBlocks, index: WordIndex, threadCount: Int,
    sink: @escaping (UnsafeBufferPointer<Int32>) throws -> Void
  ) throws -> EncodingCounts {
    let workers = (0..<max(1, threadCount)).map { _ in BlockEncoder(blocks, index: index, sink: sink) }
    try OrderedWork.run(workers)
    return workers.reduce(EncodingCounts()) { $0 + $1.counts }
  }
}
