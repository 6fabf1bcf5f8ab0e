import Checkpoints
import Corpus

/// The facts about a corpus that a model and its checkpoints depend on.
package struct TextIdentity: Sendable {
  package let vocabularySize: Int
  package let vocabularyHash: String
  package let isTokenized: Bool
  /// The checksum of the tokens of each split, by its name.
  package let tokenChecksums: [String: String]

  package init(
    vocabularySize: Int, vocabularyHash: String, isTokenized: Bool, tokenChecksums: [String: String] = [:]
  ) {
    self.vocabularySize = vocabularySize
    self.vocabularyHash = vocabularyHash
    self.isTokenized = isTokenized
    self.tokenChecksums = tokenChecksums
  }

  package init(_ corpus: Corpus) {
    let checksums = corpus.checksums.map { ($0.key.rawValue, $0.value) }
    self.init(
      vocabularySize: corpus.vocabulary.count, vocabularyHash: corpus.vocabulary.hash,
      isTokenized: corpus.description.tokenized, tokenChecksums: Dictionary(uniqueKeysWithValues: checksums))
  }
}

extension CheckpointState {
  /// Whether a text has a validation split, and not the one that this state knows.
  func hasOtherValidation(than text: TextIdentity) -> Bool {
    guard let tokenChecksums, let current = text.tokenChecksums[Split.valid.rawValue] else { return false }
    return tokenChecksums[Split.valid.rawValue] != current
  }

  /// The state with which a run continues on a text.
  func continued(on text: TextIdentity) -> CheckpointState {
    var state = hasOtherValidation(than: text) ? withoutEvaluations() : self
    state.tokenChecksums = text.tokenChecksums
    return state
  }

  /// Whether a process has no step to take: the run is finished, or has reached the step to stop after.
  func isOver(_ configuration: RunConfiguration, lastStep: Int?) -> Bool {
    step >= min(lastStep ?? .max, configuration.training.steps)
      || hasRunOutOfPatience(configuration.coordinator.patience)
  }
}
