import Foundation

/// Prints `value` as one JSON object on one line of standard output.
func printJSON(_ value: some Encodable) throws {
  let encoder = JSONEncoder()
  encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
  print(String(decoding: try encoder.encode(value), as: UTF8.self))
}

/// Prints rows of two columns, the first padded to one width.
func printTable(_ rows: [(String, String)]) {
  let width = rows.reduce(0) { max($0, $1.0.count) }
  for (name, value) in rows { print(name.padding(toLength: width + 2, withPad: " ", startingAt: 0) + value) }
}

/// Prints a table in Markdown.
func printMarkdown(_ header: [String], _ rows: [[String]]) {
  for cells in [header, header.map { _ in "---" }] + rows { print("| \(cells.joined(separator: " | ")) |") }
}

/// Three significant digits, or all before the point.
func figure(_ value: Double) -> String {
  String(format: value >= 100 ? "%.0f" : value >= 1 ? "%.3g" : "%.3f", value)
}

/// Writes one line to standard error.
func printMessage(_ line: String) { FileHandle.standardError.write(Data("milm: \(line)\n".utf8)) }
