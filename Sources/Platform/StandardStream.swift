import Foundation

/// Standard output or standard error: all that the program prints goes through one of them.
package struct StandardStream: Sendable {
  /// For results: one that cannot be written is an error.
  package static let output = StandardStream(descriptor: STDOUT_FILENO, name: "standard output")
  /// For diagnostics: one that cannot be written is dropped.
  package static let error = StandardStream(descriptor: STDERR_FILENO, name: "standard error")

  package let descriptor: CInt
  private let name: String

  /// A stream over an open descriptor, which stays open; errors call it `name`.
  package init(descriptor: CInt, name: String) {
    self.descriptor = descriptor
    self.name = name
  }

  /// Makes the standard streams safe to use; a program calls it before it opens anything.
  ///
  /// Each that is closed becomes `/dev/null`: otherwise the next file would get its number, and what is printed. Writing to
  /// a pipe without a reader, or beyond a limit on the size of files, fails instead of ending the process.
  package static func prepare() {
    for descriptor in STDIN_FILENO...STDERR_FILENO where fcntl(descriptor, F_GETFD) == -1 {
      // The lowest free number is this one.
      guard open("/dev/null", O_RDWR) == descriptor else { _exit(1) }
    }
    signal(SIGPIPE, SIG_IGN)
    signal(SIGXFSZ, SIG_IGN)
  }

  /// Writes all of `text`, with one call where the system takes it at once; returns 0, or the `errno` of the failure.
  package func attempt(_ text: String) -> CInt {
    var text = text
    return text.withUTF8 { bytes in
      var written = 0
      while written < bytes.count {
        let count = Foundation.write(
          descriptor, bytes.baseAddress.map { $0 + written }, bytes.count - written)
        let code = errno
        if count > 0 {
          written += count
        } else if count == 0 {
          return EIO
        } else if code == EAGAIN {
          waitUntilWritable()
        } else if code != EINTR {
          return code
        }
      }
      return 0
    }
  }

  /// Writes `text`; throws where it cannot be written.
  package func write(_ text: String) throws(MilmError) {
    let code = attempt(text)
    guard code == 0 else { throw MilmError(name, cannot: "write", code: code) }
  }

  /// Writes a line, with control characters made visible; throws where it cannot be written.
  package func print(_ line: String = "") throws(MilmError) {
    try write(visibleLines(line) + "\n")
  }

  /// Writes a line if possible, with control characters made visible.
  package func note(_ line: String) {
    _ = attempt(visibleLines(line) + "\n")
  }

  /// Whether nobody can read it any more: the reader of the pipe or the terminal has gone.
  package var hasLostReader: Bool {
    var request = pollfd(fd: descriptor, events: 0, revents: 0)
    return poll(&request, 1, 0) > 0 && request.revents & Int16(POLLERR) != 0
  }

  /// Another process that shares the open file may have made it non-blocking.
  private func waitUntilWritable() {
    var request = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
    poll(&request, 1, -1)
  }
}
