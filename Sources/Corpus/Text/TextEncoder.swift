import Foundation

/// What became of a text: how many lines and tokens it has, and how many of the tokens are `<unk>`.
struct EncodingCounts: Equatable {
  var lineCount = 0
  var tokenCount = 0
  var unknownTokenCount = 0
}

/// Turns the blocks that one thread gets into ids.
///
/// `@unchecked Sendable`: one thread uses it at a time, and its maker only after all threads are done.
final class BlockEncoder: BlockWorker, @unchecked Sendable {
  private let vocabulary: Vocabulary
  private let sink: (UnsafeBufferPointer<Int32>) throws -> Void
  private var ids: [Int32] = []
  private var idCount = 0
  private(set) var counts = EncodingCounts()

  /// - Parameter sink: gets the ids of each block, in the order of the text.
  init(_ vocabulary: Vocabulary, sink: @escaping (UnsafeBufferPointer<Int32>) throws -> Void) {
    self.vocabulary = vocabulary
    self.sink = sink
  }

  func process(_ text: borrowing ByteBuffer) {
    if ids.count < text.count {
      // Every token takes a byte at least.
      ids = [Int32](repeating: 0, count: text.count)
    }
    let (unknownID, endOfSentenceID) = (vocabulary.unknownID, vocabulary.endOfSentenceID)
    let index = vocabulary.index
    var scanner = WordScanner(text)
    var block = EncodingCounts()
    ids.withUnsafeMutableBufferPointer { ids in
      while let item = scanner.nextItem() {
        let id: Int32
        switch item {
        case .lineEnd:
          id = endOfSentenceID
          block.lineCount &+= 1
        case .word(let word):
          id = index.id(of: word) ?? unknownID
          if id == unknownID { block.unknownTokenCount &+= 1 }
        }
        ids[block.tokenCount] = id
        block.tokenCount &+= 1
      }
    }
    idCount = block.tokenCount
    counts.add(block)
  }

  func deliver() throws {
    try ids.withUnsafeBufferPointer { try sink(UnsafeBufferPointer(rebasing: $0[..<idCount])) }
  }
}

extension EncodingCounts {
  mutating func add(_ other: EncodingCounts) {
    lineCount += other.lineCount
    tokenCount += other.tokenCount
    unknownTokenCount += other.unknownTokenCount
  }
}

/// A text as tokens of a vocabulary.
public struct EncodedText: Sendable, Equatable {
  /// The tokens, one `<eos>` for every line.
  public let tokens: TokenArray
  /// How many lines were ended.
  public let lineCount: Int
  /// How many of the tokens are `<unk>`.
  public let unknownTokenCount: Int
}

extension Vocabulary {
  /// The tokens of a text file, plain or `.zst`; a last line without a newline counts as a line.
  ///
  /// - Parameter tokenizing: whether the file is raw text that `Tokenizer` has to take apart first.
  /// - Throws: `CorpusError` if the file cannot be read, or is not UTF-8.
  public func encode(
    contentsOf url: URL, tokenizing: Bool = false, threadCount: Int = 2
  ) throws -> EncodedText {
    let source = TextSource.file(url)
    _ = try source.storedByteCount()
    return try encode(source, tokenizing: tokenizing, endsLastLine: true, threadCount: threadCount)
  }

  /// The tokens of a text in memory.
  ///
  /// - Parameter endsLastLine: whether a last line without a newline gets its `<eos>`;
  ///   a prompt that goes on does not.
  public func encode(
    _ text: String, tokenizing: Bool = false, endsLastLine: Bool = true
  ) throws -> EncodedText {
    let source = TextSource.memory(name: "the text", bytes: Array(text.utf8))
    return try encode(source, tokenizing: tokenizing, endsLastLine: endsLastLine, threadCount: 1)
  }

  private func encode(
    _ source: TextSource, tokenizing: Bool, endsLastLine: Bool, threadCount: Int
  ) throws -> EncodedText {
    let pipeline = TextPipeline(
      [source], tokenizer: tokenizing ? Tokenizer() : nil, endsLastLine: endsLastLine)
    var ids: [Int32] = []
    let workers = (0..<threadCount).map { _ in BlockEncoder(self) { ids.append(contentsOf: $0) } }
    _ = try pipeline.run(workers)
    let counts = BlockEncoder.total(of: workers)
    return EncodedText(
      tokens: TokenArray(ids), lineCount: counts.lineCount, unknownTokenCount: counts.unknownTokenCount)
  }
}

extension BlockEncoder {
  /// The counts of several workers together.
  static func total(of workers: [BlockEncoder]) -> EncodingCounts {
    workers.reduce(into: EncodingCounts()) { $0.add($1.counts) }
  }
}
