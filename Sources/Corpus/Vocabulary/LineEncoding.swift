import CKernels
import Platform

/// Lines as tokens of a vocabulary, each ended by `<eos>`.
package struct EncodedLines: Sendable, Equatable {
  package let tokens: [Int32]
  /// By line: the end of its tokens.
  package let ends: [Int]

  /// Lines whose tokens end at `ends`.
  package init(tokens: [Int32], ends: [Int]) {
    self.tokens = tokens
    self.ends = ends
  }

  /// Lines, not tokens.
  package var count: Int { ends.count }

  /// The tokens of a line; none is empty.
  package func tokenRange(of line: Int) -> Range<Int> { (line == 0 ? 0 : ends[line - 1])..<ends[line] }
}

/// Encodes lines as they arrive, in memory that is reused.
package final class LineEncoder {
  private static let utf8Mark: [UInt8] = [0xEF, 0xBB, 0xBF]

  private let vocabulary: Vocabulary
  private let tokenizer: Tokenizer?
  private var text = ByteBuffer()
  private var ids = TextIDs()

  /// An encoder in a vocabulary; raw text is tokenized first where `tokenizing`.
  package init(_ vocabulary: Vocabulary, tokenizing: Bool) {
    self.vocabulary = vocabulary
    tokenizer = tokenizing ? Tokenizer() : nil
  }

  /// The tokens of a batch; a byte-order mark at the start of the first line is dropped.
  package func encode(_ batch: LineBatch) -> EncodedLines {
    let hasMark = batch.firstLine == 1 && batch.bytes.starts(with: Self.utf8Mark)
    text.truncate(to: 0)
    batch.bytes.withUnsafeBytes { bytes in
      let bytes = UnsafeRawBufferPointer(rebasing: bytes[(hasMark ? Self.utf8Mark.count : 0)...])
      if let tokenizer { tokenizer.tokenize(bytes, into: &text) } else { text.append(bytes) }
    }
    text.seal()
    vocabulary.index.words.find(text, into: &ids)
    // A word <eos> within a line has another mark than the line's end.
    var ends: [Int] = []
    ends.reserveCapacity(ids.lineCount)
    for (place, id) in ids.ids.enumerated() where id == CKernels_lineEndID { ends.append(place + 1) }
    _ = vocabulary.index.finalIDs.replace(ids.ids)
    return EncodedLines(tokens: Array(ids.ids), ends: ends)
  }
}
