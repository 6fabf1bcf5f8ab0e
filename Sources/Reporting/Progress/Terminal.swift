import Foundation
import Logging
import Platform
import Synchronization

/// Where progress and logs are written: a terminal, a pipe or a file.
///
/// Copies share what is drawn: a line that one of them writes appears above it.
package struct TerminalOutput: Sendable {
  /// Whether lines can be redrawn.
  package private(set) var isTerminal: Bool
  /// The current number of columns.
  let width: @Sendable () -> Int
  /// Writes by one call; failures are ignored, as there is nowhere to report them.
  private let write: @Sendable (String) -> Void
  private let drawn = DrawnLine()

  /// A custom output.
  package init(isTerminal: Bool, width: Int = 80, write: @escaping @Sendable (String) -> Void) {
    self.isTerminal = isTerminal
    self.width = { width }
    self.write = write
  }

  /// Standard error, which is relayed to `terminal` if there is one; `onLoss` is called where nobody can read it any more:
  /// its reader or its terminal has gone.
  package static func standardError(
    relayedTo terminal: RelayedTerminal? = nil, onLoss: @escaping @Sendable () -> Void
  ) -> TerminalOutput {
    TerminalOutput(.error, relayedTo: terminal, onLoss: onLoss)
  }

  private init(
    _ stream: StandardStream, relayedTo terminal: RelayedTerminal?, onLoss: @escaping @Sendable () -> Void
  ) {
    let descriptor = stream.descriptor
    let isDirect = isatty(descriptor) == 1
    isTerminal = isDirect || terminal != nil
    width = { (isDirect ? columnCount(ofTerminal: descriptor) : terminal?.width) ?? 80 }
    write = { text in
      if [EPIPE, EIO].contains(stream.attempt(text)) { onLoss() }
    }
  }

  /// The program's standard error.
  package static var standardError: TerminalOutput { standardError {} }

  /// The same output on a rank whose lines appear on the terminal, or not, of another one.
  package func appearing(onTerminal isTerminal: Bool) -> TerminalOutput {
    var output = self
    output.isTerminal = isTerminal
    return output
  }

  /// Writes a permanent line above the redrawn one.
  package func writeLine(_ line: String) {
    drawn.text.withLock { text in
      write((isTerminal ? "\r\u{1B}[K" : "") + line + "\n" + (text.map(cut) ?? ""))
    }
  }

  /// Replaces the redrawn line, cut to the width so that it never wraps.
  func redrawLine(_ line: String) {
    drawn.text.withLock { text in
      text = line
      write("\r" + cut(line) + "\u{1B}[K")
    }
  }

  /// Makes a permanent line of the redrawn one, if there is one: what follows begins on a line of its own.
  func endLine() {
    drawn.text.withLock { text in
      if text != nil { write("\n") }
      text = nil
    }
  }

  /// Puts a permanent line in the place of the redrawn one.
  func replaceLine(by line: String) {
    drawn.text.withLock { text in
      text = nil
      write((isTerminal ? "\r\u{1B}[K" : "") + line + "\n")
    }
  }

  private func cut(_ line: String) -> String { String(line.prefix(max(width() - 1, 1))) }

  /// The line that is redrawn.
  private final class DrawnLine: Sendable {
    let text = Mutex<String?>(nil)
  }
}

/// A bar of `width` characters, filled to `fraction`.
func progressBar(fraction: Double, width: Int = 20) -> String {
  let filled = fraction.isFinite ? Int((min(max(fraction, 0), 1) * Double(width)).rounded(.down)) : 0
  return "[" + String(repeating: "#", count: filled) + String(repeating: "-", count: width - filled) + "]"
}

/// A logger that writes one plain line per event: time of day, level, message, `key=value`.
///
///     20:41:07 warning: rank 3: the exchange is slow seconds=12.5 peer=node7
///
/// Lines of ranks other than 0 name their rank.
package func makeLogger(
  label: String = "milm", rank: Int = 0, level: Logger.Level = .info,
  output: TerminalOutput = .standardError
) -> Logger {
  var logger = Logger(label: label) { _ in PlainLogHandler(rank: rank, output: output) }
  logger.logLevel = level
  return logger
}

/// Writes an event as exactly one line, whatever its message contains.
struct PlainLogHandler: LogHandler {
  var logLevel = Logger.Level.info
  var metadata: Logger.Metadata = [:]
  var metadataProvider: Logger.MetadataProvider?

  let rank: Int
  let output: TerminalOutput

  init(rank: Int, output: TerminalOutput) {
    self.rank = rank
    self.output = output
  }

  subscript(metadataKey key: String) -> Logger.Metadata.Value? {
    get { metadata[key] }
    set { metadata[key] = newValue }
  }

  func log(event: LogEvent) {
    let all =
      metadata
      .merging(metadataProvider?.get() ?? [:]) { $1 }
      .merging(event.metadata ?? [:]) { $1 }
    var parts = [timeOfDay(), "\(event.level):"]
    if rank != 0 { parts.append("rank \(rank):") }
    parts.append(visible(event.message.description))
    if let error = event.error { parts.append("error=\(quotedWhereNeeded("\(error)"))") }
    parts += all.sorted { $0.key < $1.key }.map { "\($0.key)=\(quotedWhereNeeded("\($0.value)"))" }
    output.writeLine(parts.joined(separator: " "))
  }

  private func timeOfDay() -> String {
    let time = Calendar.current.dateComponents([.hour, .minute, .second], from: Date())
    return String(format: "%02d:%02d:%02d", time.hour ?? 0, time.minute ?? 0, time.second ?? 0)
  }
}

/// A value in quotation marks where it is not a single word.
func quotedWhereNeeded(_ text: String) -> String {
  let line = visible(text)
  guard line.isEmpty || line.contains(where: { " \"=".contains($0) }) else { return line }
  return "\"\(line.replacing("\"", with: "\\\""))\""
}
