import Foundation

/// What went wrong with a file of a report, in one line that begins with the file's path.
package struct ReportingError: Error, CustomStringConvertible, Sendable, Equatable {
  /// One line: where and what.
  package let description: String

  init(_ path: String, _ problem: String) {
    description = "\(path): \(problem)"
  }

  /// A failed call to the operating system; `code` is its `errno`.
  init(_ path: String, cannot action: String, code: CInt) {
    self.init(path, "cannot \(action): \(String(cString: strerror(code)))")
  }
}
