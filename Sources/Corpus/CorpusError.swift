import Foundation

/// What went wrong with a text, a vocabulary, a token file or a corpus, in one line.
public struct CorpusError: Error, CustomStringConvertible, Equatable, Sendable {
  /// What was expected, what was found, and where.
  public let description: String

  init(_ description: String) {
    self.description = description
  }

  /// A system call that failed on a file, with the reason of the operating system.
  static func system(_ action: String, _ path: String, code: Int32 = errno) -> CorpusError {
    CorpusError("cannot \(action) \(path): \(String(cString: strerror(code)))")
  }
}
