import Foundation

/// Where progress and logs are written: a terminal, a pipe or a file.
public struct TerminalOutput: Sendable {
  /// Whether lines can be redrawn.
  package let isTerminal: Bool
  /// The current number of columns.
  let width: @Sendable () -> Int
  /// Writes by one call; failures are ignored, as there is nowhere to report them.
  let write: @Sendable (String) -> Void

  /// A custom output.
  package init(isTerminal: Bool, width: Int = 80, write: @escaping @Sendable (String) -> Void) {
    self.isTerminal = isTerminal
    self.width = { width }
    self.write = write
  }

  private init(descriptor: CInt) {
    isTerminal = isatty(descriptor) == 1
    width = {
      var size = winsize()
      let isKnown = ioctl(descriptor, UInt(TIOCGWINSZ), &size) == 0 && size.ws_col > 0
      return isKnown ? Int(size.ws_col) : 80
    }
    write = { text in
      let bytes = Array(text.utf8)
      _ = Foundation.write(descriptor, bytes, bytes.count)
    }
  }

  /// The program's standard error.
  public static var standardError: TerminalOutput { TerminalOutput(descriptor: STDERR_FILENO) }

  /// Replaces the redrawn line by a permanent one; the next drawing appears below it.
  func writeLine(_ line: String) {
    write((isTerminal ? "\r\u{1B}[K" : "") + line + "\n")
  }

  /// Replaces the redrawn line, cut to the width so that it never wraps.
  func redrawLine(_ line: String) {
    write("\r" + line.prefix(max(width() - 1, 1)) + "\u{1B}[K")
  }
}

/// A bar of `width` characters, filled to `fraction`.
func progressBar(fraction: Double, width: Int = 20) -> String {
  let filled = fraction.isFinite ? Int((min(max(fraction, 0), 1) * Double(width)).rounded(.down)) : 0
  return "[" + String(repeating: "#", count: filled) + String(repeating: "-", count: width - filled) + "]"
}
