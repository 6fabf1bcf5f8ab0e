import Foundation
import Platform

/// What `corpus.json` says: where a corpus comes from and what it holds.
public struct CorpusDescription: Codable, Equatable, Sendable {
  /// The version of the format that this program writes and reads.
  public static let currentFormatVersion = 1

  /// A text the corpus was made of.
  public struct Source: Codable, Equatable, Sendable {
    /// The split it went into.
    public let split: Split
    /// Its path as it was given, or what a generated text is called.
    public let path: String
    /// SHA-256 of the file as it is stored, or of a text in an archive, in hexadecimal digits.
    public let sha256: String?
  }

  /// How large a split is.
  public struct SplitCounts: Codable, Equatable, Sendable {
    /// Lines, blank ones and a last one without a newline included.
    public let lines: Int
    /// Tokens, one `<eos>` for every line included.
    public let tokens: Int
    /// How many of the tokens are `<unk>`.
    public let unknownTokens: Int
  }

  /// The version of the format.
  public let formatVersion: Int
  /// Every text, in the order of the splits and of reading.
  public let sources: [Source]
  /// The lines and tokens of each split, by the split's name.
  public let splits: [String: SplitCounts]
  /// The number of words in `vocabulary.txt`.
  public let vocabularySize: Int
  /// XXH64 of the bytes of `vocabulary.txt`, in hexadecimal digits.
  public let vocabularyHash: String
  /// Whether the sources were raw text that `Tokenizer` took apart.
  public let tokenized: Bool
  /// Of generated text: the entropy rate of its source in nats a token, which no model can stay below.
  public let entropyRate: Double?

  /// The lines and tokens of a split; nil if the corpus does not have it.
  public func counts(of split: Split) -> SplitCounts? { splits[split.rawValue] }
}

extension CorpusDescription {
  static let fileName = "corpus.json"

  init(readingFrom folder: URL) throws {
    let url = folder.appendingPathComponent(Self.fileName)
    guard let data = try? Data(contentsOf: url) else {
      throw MilmError("no corpus at \(folder.relativePath): expected \(Self.fileName) in it")
    }
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
  }

  func write(into folder: URL) throws {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
    try (encoder.encode(self) + "\n".utf8).withUnsafeBytes {
      try AtomicFile.write($0, to: folder.appendingPathComponent(Self.fileName).path)
    }
  }
}

extension DecodingError {
  /// The key that is wrong and in what way, in a few words.
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
