/// What went wrong with a study, in one line.
public struct StudyError: Error, CustomStringConvertible, Sendable, Equatable {
  /// One line: where, what was expected, what was found.
  public let description: String

  init(_ description: String) { self.description = description }
}
