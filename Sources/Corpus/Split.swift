/// The part of a corpus a text belongs to.
public enum Split: String, CaseIterable, Codable, Sendable {
  /// What is learnt from; the vocabulary comes from it alone.
  case train
  /// What decides between checkpoints.
  case valid
  /// What is reported.
  case test

  var tokenFileName: String { "\(rawValue).tokens" }
}
