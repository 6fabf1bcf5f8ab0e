import Corpus

/// Spellings byte by byte: Swift's strings are equal where Unicode calls them equivalent.
func spellings(_ words: [String]) -> [[UInt8]] { words.map { Array($0.utf8) } }

extension TokenSequence {
  /// All ids.
  var ids: [Int32] { (0..<count).map { self[$0] } }
}

/// What an operation throws, as the user sees it.
func message(_ operation: () throws -> Void) -> String? {
  do {
    try operation()
    return nil
  } catch {
    return "\(error)"
  }
}
