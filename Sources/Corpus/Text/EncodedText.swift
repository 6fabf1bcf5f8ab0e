import Foundation

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
  /// The tokens of a text file, plain or compressed (`.zst`, `.gz`, a `.zip` with one file in it); a last line
  /// without a newline counts as a line.
  ///
  /// - Parameter tokenizing: whether the file is raw text that `Tokenizer` has to take apart first.
  /// - Throws: `MilmError` if the file cannot be read, or is not UTF-8.
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
