/// What went wrong in a job, in one line: where, what was expected, what was found.
public struct CommunicationError: Error, CustomStringConvertible, Sendable, Equatable {
  /// The line.
  public let description: String

  /// An error of one line: texts that come out of files may hold line breaks, or be very long.
  public init(_ description: String) {
    let visible = description.unicodeScalars.prefix(4000).map {
      Self.breaksLines($0) ? " " : $0
    }
    self.description = String(String.UnicodeScalarView(visible))
  }

  private static func breaksLines(_ scalar: Unicode.Scalar) -> Bool {
    [.control, .lineSeparator, .paragraphSeparator].contains(scalar.properties.generalCategory)
  }
}
