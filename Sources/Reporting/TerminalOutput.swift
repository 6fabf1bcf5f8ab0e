import Foundation

/// Where progress and logs go, and whether a person watches it on a terminal.
public struct TerminalOutput: Sendable {
  /// Whether lines can be redrawn.
  public let isTerminal: Bool
  /// Characters in a line now.
  let width: @Sendable () -> Int
  /// Writes a text by one call; a failure is ignored, for there is nobody to tell.
  let write: @Sendable (String) -> Void

  /// An output of one's own.
  public init(isTerminal: Bool, width: Int = 80, write: @escaping @Sendable (String) -> Void) {
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

  /// Writes a line that stays, in place of a redrawn one, whose next drawing is below it.
  func writeLine(_ line: String) {
    write((isTerminal ? "\r\u{1B}[K" : "") + line + "\n")
  }

  /// Draws a line in place of the one drawn before, cut to the width so that it never wraps.
  func redrawLine(_ line: String) {
    write("\r" + line.prefix(max(width() - 1, 1)) + "\u{1B}[K")
  }
}

/// A bar of `width` characters of which `share` is filled.
func progressBar(share: Double, width: Int = 20) -> String {
  let filled = share.isFinite ? Int((min(max(share, 0), 1) * Double(width)).rounded(.down)) : 0
  return "[" + String(repeating: "#", count: filled) + String(repeating: "-", count: width - filled) + "]"
}
