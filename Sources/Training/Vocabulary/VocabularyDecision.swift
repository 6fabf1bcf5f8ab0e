import Communication

/// How `exchange.vocabulary: auto` is decided when a run begins.
///
/// A run that is given none replicates the vocabulary. A resumed run keeps the group size of its checkpoint.
package protocol VocabularyDecision: Sendable {
  /// Chooses the group size for a new run of several training ranks; what fits in memory is a part of the choice.
  ///
  /// All ranks call it before the state of the run exists, and may compute and communicate; the run takes rank 0's choice.
  /// `corpus` is the corpus directory.
  func decide(
    _ configuration: RunConfiguration, corpus: String, vocabularySize: Int, ranks: Ranks
  ) throws -> VocabularyChoice
}

/// A group size with the reason for it.
package struct VocabularyChoice: Sendable, Equatable {
  /// G, a divisor of the number of training ranks.
  package let groupSize: Int
  /// Why, as the log says it.
  package let reason: String

  package init(groupSize: Int, reason: String) {
    self.groupSize = groupSize
    self.reason = reason
  }
}
