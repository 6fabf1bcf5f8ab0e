import Checkpoints
import Corpus
import Foundation
import Platform

extension Checkpoint {
  /// The model's vocabulary: that of `corpus`, else of the run that the checkpoint is in.
  package func vocabulary(corpus: String?) throws -> Vocabulary {
    if let corpus, case .absent = try FileEntry(at: "\(corpus)/corpus.json", followingLinks: true) {
      throw MilmError(noCorpusAt: corpus)
    }
    let directory = URL(filePath: path).deletingLastPathComponent().deletingLastPathComponent()
    let file = corpus.map { "\($0)/vocabulary.txt" } ?? RunDirectory(path: directory.path).vocabularyPath
    if case .absent = try FileEntry(at: file, followingLinks: true) {
      throw MilmError(
        "\(file): expected the checkpoint's vocabulary, found no file; name its corpus with --corpus")
    }
    let vocabulary = try Vocabulary(contentsOf: URL(filePath: file))
    try require(vocabulary, from: file)
    return vocabulary
  }

  /// Throws unless `vocabulary`, read from `path`, is the one the model was trained with.
  func require(_ vocabulary: Vocabulary, from source: String) throws {
    guard vocabulary.hash == state.vocabularyHash else {
      throw MilmError(
        "\(source): the vocabulary differs from that of \(path): expected hash \(state.vocabularyHash), "
          + "found \(vocabulary.hash)")
    }
  }
}
