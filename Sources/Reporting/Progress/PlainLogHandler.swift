import Foundation
import Logging

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
    parts.append(singleLine(event.message.description))
    if let error = event.error { parts.append("error=\(quotedWhereNeeded("\(error)"))") }
    parts += all.sorted { $0.key < $1.key }.map { "\($0.key)=\(quotedWhereNeeded("\($0.value)"))" }
    output.writeLine(parts.joined(separator: " "))
  }

  private func timeOfDay() -> String {
    let time = Calendar.current.dateComponents([.hour, .minute, .second], from: Date())
    return String(format: "%02d:%02d:%02d", time.hour ?? 0, time.minute ?? 0, time.second ?? 0)
  }
}

private func singleLine(_ text: String) -> String {
  String(
    String.UnicodeScalarView(text.unicodeScalars.map { $0.properties.generalCategory == .control ? " " : $0 })
  )
}

/// A value in quotation marks where it is not a single word.
func quotedWhereNeeded(_ text: String) -> String {
  let line = singleLine(text)
  guard line.isEmpty || line.contains(where: { " \"=".contains($0) }) else { return line }
  return "\"\(line.replacing("\"", with: "\\\""))\""
}
