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
