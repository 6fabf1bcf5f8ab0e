import Foundation

/// A corpus on the disk: vocabulary and tokens, ready to be read at any position.
public struct Corpus: Sendable {
  static let vocabularyFileName = "vocabulary.txt"
  static let fileNames = Set(
    [CorpusDescription.fileName, vocabularyFileName] + Split.allCases.map(\.tokenFileName))

  /// What `corpus.json` says.
  public let description: CorpusDescription
  /// The words of the corpus.
  public let vocabulary: Vocabulary
  private let files: [Split: TokenFile]
  private let name: String

  /// Opens the corpus in a folder and verifies it.
  ///
  /// - Parameter verification: how much of the token files is checked.
  /// - Throws: `CorpusError` naming the file that is missing, damaged, or not of this corpus.
  public init(opening folder: URL, verification: Verification = .full) throws {
    description = try CorpusDescription(readingFrom: folder)
    name = folder.relativePath
    vocabulary = try Vocabulary(contentsOf: folder.appendingPathComponent(Self.vocabularyFileName))
    guard vocabulary.hash == description.vocabularyHash else {
      throw CorpusError(
        "expected a vocabulary with hash \(description.vocabularyHash) in \(name), found \(vocabulary.hash)")
    }
    var files: [Split: TokenFile] = [:]
    for split in Split.allCases {
      guard let counts = description.counts(of: split) else { continue }
      let url = folder.appendingPathComponent(split.tokenFileName)
      let file = try TokenFile(
        opening: url, vocabularyCount: vocabulary.count, verification: verification)
      guard file.count == counts.tokens else {
        throw CorpusError("expected \(counts.tokens) tokens in \(url.relativePath), found \(file.count)")
      }
      files[split] = file
    }
    self.files = files
  }

  /// Whether the corpus was made with a split.
  public func contains(_ split: Split) -> Bool { files[split] != nil }

  /// The tokens of a split.
  ///
  /// - Throws: `CorpusError` if the corpus was made without it.
  public func tokens(_ split: Split) throws -> TokenFile {
    guard let file = files[split] else {
      let present = Split.allCases.filter { files[$0] != nil }.map(\.rawValue).joined(separator: ", ")
      throw CorpusError("expected a \(split.rawValue) split in \(name), found only \(present)")
    }
    return file
  }
}
