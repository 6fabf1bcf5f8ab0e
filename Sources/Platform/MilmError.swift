import Foundation

/// The one error type of milm: a single line that says what failed, what was expected, what was found and where.
package struct MilmError: Error, CustomStringConvertible, Sendable, Equatable {
  /// The line.
  package let description: String
  /// The `errno` of the system call that failed; nil where something was read and found wrong.
  package let code: CInt?

  /// An error with this text; line breaks and control characters become escapes, and a very long text is cut.
  package init(_ description: String) {
    self.init(description, code: nil)
  }

  private init(_ description: String, code: CInt?) {
    self.description = visible(String(description.unicodeScalars.prefix(4000)))
    self.code = code
  }

  /// An error of the form `what: expected x, found y (place)`.
  package init(_ what: String, expected: String, found: String, at place: String? = nil) {
    self.init("\(what): expected \(expected), found \(found)" + (place.map { " (\($0))" } ?? ""))
  }

  /// A problem with the file or directory at `path`.
  package init(_ path: String, _ problem: String) {
    self.init("\(path): \(problem)")
  }

  /// A failed system call on `path`; `code` is its `errno`.
  package init(_ path: String, cannot action: String, code: CInt = errno) {
    self.init("\(path): cannot \(action): \(String(cString: strerror(code)))", code: code)
  }

  /// A pointer at `path` to content that is stored elsewhere: it could not be read.
  init(_ path: String, found pointer: StoragePointer) {
    self.init("\(path): expected its content, found \(pointer)", code: ENODATA)
  }

  package static func == (one: MilmError, other: MilmError) -> Bool { one.description == other.description }
}

/// Throws if a system call returned -1.
///
/// Pass the call itself as the argument: `errno` is only valid until the next call.
package func check(_ result: CInt, _ action: String, _ path: String) throws(MilmError) {
  let code = errno
  guard result != -1 else { throw MilmError(path, cannot: action, code: code) }
}
