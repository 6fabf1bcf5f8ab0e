import Foundation

/// The terminal at the end of a relay, such as `mpirun` or a script, that passes this process's standard error on.
package struct RelayedTerminal: Sendable, Equatable {
  /// The variable in which a script names its terminal: `HOST PATH COLUMNS`.
  package static let variable = "MILM_TERMINAL"

  /// Nil on another host.
  private let path: String?
  /// The number of columns at the start.
  private let columnCount: Int?

  /// The terminal that a script has named; nil where it has named none.
  package init?(_ text: String, host: String = Self.host) {
    let words = text.split(separator: " ")
    guard words.count == 3 else { return nil }
    path = words[0] == host ? String(words[1]) : nil
    columnCount = Int(words[2]).flatMap { $0 > 0 ? $0 : nil }
  }

  /// The terminal that is the standard error of another process on this host; nil where it is none.
  package init?(standardErrorOf process: pid_t) {
    guard let target = try? linkTarget("/proc/\(process)/fd/\(STDERR_FILENO)"),
      Self.withTerminal(target, { isatty($0) == 1 }) == true
    else { return nil }
    path = target
    columnCount = nil
  }

  /// The current number of columns; nil where it is unknown.
  package var width: Int? {
    path.flatMap { Self.withTerminal($0) { Platform.columnCount(ofTerminal: $0) } ?? nil } ?? columnCount
  }

  /// The name that `uname -n` prints.
  package static var host: String {
    var name = utsname()
    guard uname(&name) == 0 else { return "" }
    return withUnsafeBytes(of: name.nodename) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
  }

  private static func withTerminal<Result>(_ path: String, _ body: (CInt) -> Result) -> Result? {
    guard path.hasPrefix("/dev/") else { return nil }
    let descriptor = open(path, O_RDONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC)
    guard descriptor >= 0 else { return nil }
    defer { close(descriptor) }
    return body(descriptor)
  }
}

/// The number of columns of an open terminal; nil where it does not say.
package func columnCount(ofTerminal descriptor: CInt) -> Int? {
  var size = winsize()
  guard ioctl(descriptor, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0 else { return nil }
  return Int(size.ws_col)
}
