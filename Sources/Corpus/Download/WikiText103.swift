import Foundation
import Platform

/// WikiText-103 (Merity et al., "Pointer Sentinel Mixture Models", 2016): the addresses and digest of its archive,
/// and the counts of its corpus.
package enum WikiText103 {
  /// Known addresses of `wikitext-103-v1.zip`.
  ///
  /// The first is served by Stephen Merity, one of its authors; the second is that of the publication.
  package static let addresses = [
    "https://wikitext.smerity.com/wikitext-103-v1.zip",
    "https://s3.amazonaws.com/research.metamind.io/wikitext/wikitext-103-v1.zip",
  ].compactMap(URL.init(string:))

  /// SHA-256 of `wikitext-103-v1.zip` according to CorpusLoaders.jl (JuliaText) and mlx-data (ml-explore).
  package static let sha256 = "242ba0f20b329cfdf1ccc61e9e9e5b59becf189db7f7a81cd2a0e2fc31539590"
  /// The length of `wikitext-103-v1.zip`.
  package static let byteCount = 190_229_076

  /// Tokens of each split, with one `<eos>` per line.
  private static let tokenCounts: [Split: Int] = [
    .train: trainingTokenCount, .valid: 217_646, .test: 245_569,
  ]
  /// Tokens of its training split, `<eos>` included.
  package static let trainingTokenCount = 103_227_021
  /// Its number of distinct tokens.
  package static let vocabularySize = 267_735

  /// A builder for the files `wiki.{train,valid,test}.tokens` of an archive.
  ///
  /// - Parameter isPublished: whether the archive is the published one, so that the counts must match.
  package static func builder(archive: URL, isPublished: Bool = true) -> CorpusBuilder {
    let sources = Split.allCases.map { ($0, [TextSource.entry(archive: archive, name: "wiki.\($0).tokens")]) }
    return CorpusBuilder(
      sources: Dictionary(uniqueKeysWithValues: sources), options: .init(), entropyRate: nil,
      check: { if isPublished { try checkCounts($0) } })
  }

  private static func checkCounts(_ description: CorpusDescription) throws {
    for split in Split.allCases where description.counts(of: split)?.tokens != tokenCounts[split] {
      throw MilmError(
        "expected \(tokenCounts[split] ?? 0) tokens in \(split.rawValue) of WikiText-103, "
          + "found \(description.counts(of: split)?.tokens ?? 0)")
    }
    guard description.vocabularySize == vocabularySize else {
      throw MilmError(
        "expected \(vocabularySize) words in WikiText-103, found \(description.vocabularySize)")
    }
  }
}
