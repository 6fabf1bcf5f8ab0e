/// What went wrong between ranks, in one line: where, what was expected, what was found.
public struct CommunicationError: Error, CustomStringConvertible, Equatable {
  /// The line.
  public let description: String

  init(_ description: String) {
    self.description = description
  }
}
