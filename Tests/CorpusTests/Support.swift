import Corpus

/// The bytes of words: Swift's strings are equal if they are canonically equivalent.
func spellings(_ words: [String]) -> [[UInt8]] { words.map { Array($0.utf8) } }

extension TokenSequence {
  /// All ids, none if they cannot be read.
  var ids: [Int32] {
    var ids = [Int32](repeating: -1, count: count)
    do {
      try ids.withUnsafeMutableBufferPointer { try copy(0..<count, into: $0) }
      return ids
    } catch {
      return []
    }
  }
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
