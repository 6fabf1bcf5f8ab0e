import Foundation
import Platform

/// The content of `corpus.json`: the sources of a corpus and its counts.
package struct CorpusDescription: Codable, Equatable, Sendable {
  /// The format version that this program writes and reads.
  package static let currentFormatVersion = 1

  /// A text of the corpus.
  package struct Source: Codable, Equatable, Sendable {
    /// The split it belongs to.
    package let split: Split
    /// Its path as given, or the name of a generated text.
    package let path: String
    /// SHA-256 of the file as stored, or of the text for an archive, in hexadecimal digits.
    package let sha256: String?
  }

  /// The size of a split.
  package struct SplitCounts: Codable, Equatable, Sendable {
    /// Lines, including blank ones and a last one without a newline.
    package let lines: Int
    /// Tokens, including one `<eos>` per line.
    package let tokens: Int
    /// The number of `<unk>` tokens.
    package let unknownTokens: Int
  }

  /// Version of the format of `corpus.json`.
  package let formatVersion: Int
  /// All texts, by split and in the order of reading.
  package let sources: [Source]
  /// The size of each split, by name.
  package let splits: [String: SplitCounts]
  /// The number of words in `vocabulary.txt`.
  package let vocabularySize: Int
  /// XXH64 of the bytes of `vocabulary.txt`, in hexadecimal digits.
  package let vocabularyHash: String
  /// Whether the sources were raw text and have been tokenized.
  package let tokenized: Bool
  /// For generated text: the entropy rate of its source in nats per token, a lower bound for any model.
  package let entropyRate: Double?

  /// The size of a split, nil if the corpus does not have it.
  package func counts(of split: Split) -> SplitCounts? { splits[split.rawValue] }
}

extension CorpusDescription {
  static let fileName = "corpus.json"

  /// Reads the `corpus.json` of a corpus, and nothing else of it.
  package init(readingFrom directory: URL) throws {
    let url = directory.appendingPathComponent(Self.fileName)
    guard let bytes = try readIfPresent(url.path) else {
      throw MilmError(noCorpusAt: directory.relativePath)
    }
    let data = Data(bytes)
    struct Version: Decodable {
      let formatVersion: Int
    }
    do {
      let version = try JSONDecoder().decode(Version.self, from: data).formatVersion
      guard version == Self.currentFormatVersion else {
        throw MilmError(
          "expected format version \(Self.currentFormatVersion) in \(url.relativePath), found \(version)")
      }
      self = try JSONDecoder().decode(Self.self, from: data)
    } catch let error as DecodingError {
      throw MilmError("expected the description of a corpus in \(url.relativePath), found \(error.summary)")
    }
    if let defect { throw MilmError("\(url.relativePath): \(defect)") }
  }

  /// The reason why a description of the right types is unusable, nil if there is none: its counts are used in sums.
  private var defect: String? {
    let (tokenLimit, wordLimit) = (1 << 48, Int(Int32.max))
    guard (2...wordLimit).contains(vocabularySize) else {
      return "expected a vocabularySize from 2 to \(wordLimit), found \(vocabularySize)"
    }
    for (name, counts) in splits.sorted(by: { $0.key < $1.key }) {
      guard (0...tokenLimit).contains(counts.tokens) else {
        return "expected 0 to \(tokenLimit) tokens in splits.\(name), found \(counts.tokens)"
      }
      for (what, count) in [("lines", counts.lines), ("unknownTokens", counts.unknownTokens)]
      where !(0...counts.tokens).contains(count) {
        return
          "expected 0 to \(counts.tokens) \(what) in splits.\(name), as many as tokens at most, found \(count)"
      }
    }
    return nil
  }

  func write(into directory: URL) throws {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
    try (encoder.encode(self) + "\n".utf8).withUnsafeBytes {
      try AtomicFile.write($0, to: directory.appendingPathComponent(Self.fileName).path)
    }
  }
}

extension MilmError {
  /// There is no corpus at `path`.
  package init(noCorpusAt path: String) {
    self.init(
      "no corpus at \(path): expected \(CorpusDescription.fileName) in it, found none; milm prepare builds a corpus"
    )
  }
}

extension DecodingError {
  /// The key at fault and the kind of error.
  fileprivate var summary: String {
    func path(_ context: Context) -> String { context.codingPath.map(\.stringValue).joined(separator: ".") }
    switch self {
    case .keyNotFound(let key, let context):
      return "no \((context.codingPath + [key]).map(\.stringValue).joined(separator: "."))"
    case .typeMismatch(let type, let context): return "something else than \(type) at \(path(context))"
    case .valueNotFound(let type, let context): return "null instead of \(type) at \(path(context))"
    case .dataCorrupted(let context) where context.codingPath.isEmpty: return "no JSON"
    case .dataCorrupted(let context): return "an impossible value at \(path(context))"
    @unknown default: return "something else"
    }
  }
}
