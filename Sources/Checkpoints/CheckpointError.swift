import Foundation

/// What went wrong with a file of a run, in one line that begins with the file's path.
public struct CheckpointError: Error, CustomStringConvertible, Sendable, Equatable {
  /// One line: where, what was expected, what was found.
  public let description: String

  init(_ path: String, _ problem: String) {
    description = singleLine("\(path): \(problem)")
  }

  /// A failed call to the operating system; `code` is its `errno`.
  init(_ path: String, cannot action: String, code: CInt) {
    self.init(path, "cannot \(action): \(String(cString: strerror(code)))")
  }
}

/// Throws for a call to the operating system that answered -1; must be given the call's result directly,
/// for `errno` lasts only until the next call.
func check(_ result: CInt, _ action: String, _ path: String) throws(CheckpointError) {
  let code = errno
  guard result != -1 else { throw CheckpointError(path, cannot: action, code: code) }
}

/// Names and texts that come out of a file may hold line breaks or be very long; an error stays one line.
private func singleLine(_ text: String) -> String {
  let visible = text.unicodeScalars.prefix(1000).map { $0.properties.generalCategory == .control ? " " : $0 }
  return String(String.UnicodeScalarView(visible))
}
