/// What keeps a run from starting or from going on, in one line: what was expected, what was found, where.
public struct TrainingError: Error, CustomStringConvertible, Sendable, Equatable {
  /// The line.
  public let description: String

  /// An error of one line.
  public init(_ description: String) {
    self.description = description
  }
}
