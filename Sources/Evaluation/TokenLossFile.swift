import Corpus
import Foundation
import Platform

/// A table of what every token cost, as text: a line of names, then for each token of the text its position from 0, its
/// word and its negative log-likelihood in nats, divided by tabs.
///
/// Numbers are written so that reading them gives the same bits; added up in order they are the total. The file
/// appears when it is complete.
final class TokenLossFile {
  private static let bufferByteCount = 1 << 20

  private let file: AtomicFile
  private let vocabulary: Vocabulary
  private var buffer: [UInt8] = []
  private var position = 0

  /// Begins a table of words of `vocabulary`; throws `MilmError` where no file can be written at `path`.
  init(path: String, vocabulary: Vocabulary) throws {
    file = try AtomicFile(path)
    self.vocabulary = vocabulary
    buffer.reserveCapacity(Self.bufferByteCount + 1024)
    buffer.append(contentsOf: "position\tword\tnll\n".utf8)
  }

  /// Adds the next token of the text.
  func append(_ word: Int32, nll: Double) throws {
    buffer.append(contentsOf: "\(position)\t".utf8)
    buffer.append(contentsOf: vocabulary.word(word).utf8)
    buffer.append(contentsOf: "\t\(nll)\n".utf8)
    position += 1
    if buffer.count >= Self.bufferByteCount { try flush() }
  }

  /// Makes the file appear.
  func finish() throws {
    try flush()
    try file.finish()
  }

  private func flush() throws {
    try buffer.withUnsafeBytes { try file.append($0) }
    buffer.removeAll(keepingCapacity: true)
  }
}
