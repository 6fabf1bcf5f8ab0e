import Foundation
import Platform
import Reporting

/// The results of a study: the files in its directory and what it prints.
package struct StudyReport: Sendable {
  package struct File: Sendable {
    package let name: String
    package let text: String
  }

  /// `results.json`, tables and figures.
  package let files: [File]
  package let summary: Table
  /// The results as one line of JSON; `null` for a number that is not finite.
  package let json: String

  /// A report with tables (`name.csv`) and figures (`name.svg`); `results` becomes `results.json`.
  init(
    results: some Encodable, summary: Table, tables: [(name: String, table: Table)],
    figures: [(name: String, figure: Figure)]
  ) throws {
    self.summary = summary
    json = try jsonLine(results)
    let pretty = try studyEncoder(isPretty: true).encode(results)
    files =
      [File(name: "results.json", text: String(decoding: pretty, as: UTF8.self) + "\n")]
      + tables.map { File(name: "\($0.name).csv", text: $0.table.csv) }
      + figures.map { File(name: "\($0.name).svg", text: $0.figure.svg) }
  }
}

/// Equal values give equal bytes; numbers that are not finite become strings.
func studyEncoder(isPretty: Bool = false) -> JSONEncoder {
  let encoder = JSONEncoder()
  encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
  if isPretty { encoder.outputFormatting.insert(.prettyPrinted) }
  encoder.nonConformingFloatEncodingStrategy = .convertToString(
    positiveInfinity: "Infinity", negativeInfinity: "-Infinity", nan: "NaN")
  return encoder
}

/// Reads what `studyEncoder` writes.
func studyDecoder() -> JSONDecoder {
  let decoder = JSONDecoder()
  decoder.nonConformingFloatDecodingStrategy = .convertFromString(
    positiveInfinity: "Infinity", negativeInfinity: "-Infinity", nan: "NaN")
  return decoder
}

/// A table of text cells.
package struct Table: Sendable, Equatable {
  package let header: [String]
  package private(set) var rows: [[String]] = []

  package init(_ header: [String]) { self.header = header }

  package mutating func add(_ row: [String]) {
    precondition(row.count == header.count, "expected \(header.count) cells, found \(row.count)")
    rows.append(row)
  }

  /// Comma-separated values; cells contain no commas.
  package var csv: String {
    ([header] + rows).map { $0.joined(separator: ",") + "\n" }.joined()
  }

  package var markdown: String {
    let rule = Array(repeating: "---", count: header.count)
    return ([header, rule] + rows).map { "| \($0.joined(separator: " | ")) |\n" }.joined()
  }
}

/// A mean over seeds with its standard error.
struct Estimate: Codable, Sendable, Equatable {
  let mean: Double
  /// The sample's standard deviation ÷ √(number of values); 0 for a single value.
  let standardError: Double

  /// The estimate from at least one value.
  init(_ values: [Double]) {
    let count = Double(values.count)
    let mean = values.reduce(0, +) / count
    let squares = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) }
    self.mean = mean
    standardError = values.count > 1 ? (squares / (count - 1) / count).squareRoot() : 0
  }

  /// As in `0.0123 ± 0.0004`, the mean with this many significant digits.
  func text(digits: Int = 3) -> String {
    "\(rounded(mean, digits: digits)) ± \(rounded(standardError, digits: 2))"
  }
}

/// A number with this many significant digits.
func rounded(_ value: Double, digits: Int) -> String {
  guard value.isFinite, value != 0 else { return value == 0 ? "0" : "–" }
  let magnitude = Int(log10(abs(value)).rounded(.down))
  if magnitude < -4 { return String(format: "%.\(digits - 1)e", value) }
  return String(format: "%.\(max(0, digits - 1 - magnitude))f", value)
}
