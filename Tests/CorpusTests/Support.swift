import Corpus

/// The bytes of words: Swift's strings are equal if they are canonically equivalent.
func spellings(_ words: [String]) -> [[UInt8]] { words.map { Array($0.utf8) } }

extension TokenSequence {
  /// All ids.
  var ids: [Int32] { (0..<count).map { self[$0] } }
}

/// The message of the error that an operation throws, nil if it succeeds.
func message(_ operation: () throws -> Void) -> String? {
  do {
    try operation()
    return nil
  } catch {
    return "\(error)"
  }
}
