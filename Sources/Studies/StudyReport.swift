import Foundation

/// What a study leaves in its folder, and what it prints.
public struct StudyReport: Sendable {
  /// A file of the folder.
  public struct File: Sendable {
    /// Its name.
    public let name: String
    /// Its whole text.
    public let text: String
  }

  /// `results.json`, tables and figures.
  public let files: [File]
  /// The summary for people.
  public let summary: Table
  /// The summary for programs, in one line of JSON.
  public let json: String

  /// A report with tables (`name.csv`) and figures (`name.svg`); `results` becomes `results.json`.
  init(
    results: some Encodable, summary: Table, tables: [(name: String, table: Table)],
    figures: [(name: String, figure: Figure)]
  ) throws {
    self.summary = summary
    json = String(decoding: try studyEncoder().encode(results), as: UTF8.self)
    let pretty = try studyEncoder(isPretty: true).encode(results)
    files =
      [File(name: "results.json", text: String(decoding: pretty, as: UTF8.self) + "\n")]
      + tables.map { File(name: "\($0.name).csv", text: $0.table.csv) }
      + figures.map { File(name: "\($0.name).svg", text: $0.figure.svg) }
  }
}

/// Writes the same bytes for the same values; numbers that are not finite become words.
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
