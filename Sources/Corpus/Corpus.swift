import Foundation
import Platform
import Synchronization

/// A corpus on disk: a vocabulary and the tokens of each split, with random access.
package struct Corpus: Sendable {
  static let vocabularyFileName = "vocabulary.txt"
  static let fileNames = Set(
    [CorpusDescription.fileName, vocabularyFileName] + Split.allCases.map(\.tokenFileName))

  /// The content of `corpus.json`.
  package let description: CorpusDescription
  /// The words of the corpus.
  package let vocabulary: Vocabulary
  private let files: [Split: TokenFile]
  private let name: String

  /// Opens the corpus in a directory and verifies it.
  ///
  /// - Parameter verification: how much of the token files is verified.
  /// - Throws: an error that names the file that is missing, corrupted, or not of this corpus.
  package init(opening directory: URL, verification: Verification = .full) throws {
    description = try CorpusDescription(readingFrom: directory)
    name = directory.relativePath
    // Each takes a tenth of a second for a large corpus.
    (vocabulary, files) = try concurrently(
      { [description] in try description.vocabulary(in: directory) },
      { [description] in try description.tokenFiles(in: directory, verification) })
  }

  /// The checksum of the tokens of each split that the corpus has.
  package var checksums: [Split: String] { files.mapValues(\.checksum) }

  /// Whether the corpus has a split.
  package func contains(_ split: Split) -> Bool { files[split] != nil }

  /// The tokens of a split; throws if the corpus does not have it.
  package func tokens(_ split: Split) throws -> TokenFile {
    guard let file = files[split] else {
      let present = Split.allCases.filter { files[$0] != nil }.map(\.rawValue).joined(separator: ", ")
      throw MilmError("expected a \(split.rawValue) split in \(name), found only \(present)")
    }
    return file
  }
}

extension CorpusDescription {
  fileprivate func vocabulary(in directory: URL) throws -> Vocabulary {
    let url = directory.appendingPathComponent(Corpus.vocabularyFileName)
    let vocabulary = try Vocabulary(contentsOf: url)
    guard vocabulary.hash == vocabularyHash else {
      throw MilmError(
        "expected a vocabulary with hash \(vocabularyHash) in \(directory.relativePath), found \(vocabulary.hash)"
      )
    }
    guard vocabulary.count == vocabularySize else {
      throw MilmError("expected \(vocabularySize) words in \(url.relativePath), found \(vocabulary.count)")
    }
    return vocabulary
  }

  fileprivate func tokenFiles(in directory: URL, _ verification: Verification) throws -> [Split: TokenFile] {
    var files: [Split: TokenFile] = [:]
    for split in Split.allCases {
      guard let counts = counts(of: split) else { continue }
      let url = directory.appendingPathComponent(split.tokenFileName)
      let file = try TokenFile(opening: url, vocabularyCount: vocabularySize, verification: verification)
      guard file.count == counts.tokens else {
        throw MilmError("expected \(counts.tokens) tokens in \(url.relativePath), found \(file.count)")
      }
      files[split] = file
    }
    return files
  }
}

/// The results of two closures that run concurrently; if both throw, the error of the first.
private func concurrently<First: Sendable, Second: Sendable>(
  _ first: @Sendable () throws -> First, _ second: @Sendable () throws -> Second
) throws -> (First, Second) {
  let firstResult = Mutex<Result<First, any Error>?>(nil)
  let secondResult = Mutex<Result<Second, any Error>?>(nil)
  try SystemThread.runConcurrently(count: 2, name: "open") { index in
    if index == 0 {
      let result = Result { try first() }
      firstResult.withLock { $0 = result }
    } else {
      let result = Result { try second() }
      secondResult.withLock { $0 = result }
    }
  }
  guard let first = firstResult.withLock({ $0 }), let second = secondResult.withLock({ $0 }) else {
    preconditionFailure("no result")
  }
  return try (first.get(), second.get())
}

/// A part of a corpus.
package enum Split: String, CaseIterable, Codable, Sendable {
  /// For training; the only source of the vocabulary.
  case train
  /// For choosing between checkpoints.
  case valid
  /// For reported results.
  case test

  var tokenFileName: String { "\(rawValue).tokens" }
}
