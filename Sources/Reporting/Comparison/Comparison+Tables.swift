import Platform

/// The table of a comparison for people, spreadsheets and programs.
extension Comparison {
  /// A column of the table.
  struct Column {
    let title: String
    var isNumber = true
    let text: (ComparisonRow) -> String
  }

  /// The columns that people read.
  var columns: [Column] {
    let changed = changedKeys.map { key in
      Column(title: shortName(of: key), isNumber: false) { $0.value(of: key) }
    }
    let test = Column(title: "test") { $0.test?.text(Self.perplexity) ?? "" }
    return [
      Column(title: "run", isNumber: false, text: \.name),
      Column(title: "variant", isNumber: false, text: \.variant),
      Column(title: "parameters") { $0.parameters.map(Readable.grouped) ?? "?" },
    ] + changed + [
      Column(title: "best valid") { $0.bestValid?.text(Self.perplexity) ?? "" }
    ] + (rows.contains { $0.test != nil } ? [test] : []) + [
      Column(title: "tokens/s") { $0.tokensPerSecond.map { Readable.count($0.mean) } ?? "" },
      Column(title: "step") { Readable.grouped($0.step) },
    ]
  }

  static func perplexity(_ value: Double) -> String { Readable.decimal(value, 2) }

  /// The last part of a key where that is enough to tell it from the others.
  private func shortName(of key: String) -> String {
    let last = key.split(separator: ".").last ?? ""
    return changedKeys.count { $0.split(separator: ".").last == last } == 1 ? String(last) : key
  }

  /// Header and rows of text.
  package var table: (header: [String], rows: [[String]]) {
    let columns = columns
    return (columns.map(\.title), rows.map { row in columns.map { $0.text(row) } })
  }

  /// Comma-separated values with a header, as RFC 4180 has them but with lines that end in LF; a number that is not finite
  /// is an empty cell.
  package var csv: String {
    let header =
      ["run", "runs", "variant", "parameters"] + changedKeys
      + ["bestValid", "bestValidError", "test", "testError", "tokensPerSecond", "step", "hours"]
    let lines = rows.map { row -> [String] in
      func text(_ value: Double?) -> String { value.map { $0.isFinite ? "\($0)" : "" } ?? "" }
      return [row.name, "\(row.runs.count)", row.variant, row.parameters.map { "\($0)" } ?? ""]
        + changedKeys.map(row.value)
        + [
          text(row.bestValid?.mean), text(row.bestValid?.error), text(row.test?.mean), text(row.test?.error),
          text(row.tokensPerSecond?.mean), "\(row.step)", text(row.hours),
        ]
    }
    return ([header] + lines).map { $0.map(quoted).joined(separator: ",") + "\n" }.joined()
  }

  private func quoted(_ field: String) -> String {
    guard field.contains(where: { ",\"\n\r".contains($0) }) else { return field }
    return "\"\(field.replacing("\"", with: "\"\""))\""
  }
}

extension Comparison: Encodable {
  private enum CodingKeys: String, CodingKey {
    case runs, changedKeys, caveats
  }

  package func encode(to encoder: any Encoder) throws {
    var object = encoder.container(keyedBy: CodingKeys.self)
    try object.encode(rows, forKey: .runs)
    try object.encode(changedKeys, forKey: .changedKeys)
    try object.encode(caveats, forKey: .caveats)
  }
}

extension ComparisonRow: Encodable {
  private enum CodingKeys: String, CodingKey {
    case name, paths, seeds, variant, parameters, changed, bestValid, bestValidError, bestStep, test,
      testError
    case tokensPerSecond, step, hours
  }

  /// Every key, `null` where there is no value.
  package func encode(to encoder: any Encoder) throws {
    var object = encoder.container(keyedBy: CodingKeys.self)
    try object.encode(name, forKey: .name)
    try object.encode(paths, forKey: .paths)
    try object.encode(seeds, forKey: .seeds)
    try object.encode(variant, forKey: .variant)
    try object.encode(parameters, forKey: .parameters)
    try object.encode(Dictionary(uniqueKeysWithValues: changes.map { ($0.key, $0.value) }), forKey: .changed)
    try object.encode(bestValid?.mean, forKey: .bestValid)
    try object.encode(bestValid?.error, forKey: .bestValidError)
    try object.encode(bestStep, forKey: .bestStep)
    try object.encode(test?.mean, forKey: .test)
    try object.encode(test?.error, forKey: .testError)
    try object.encode(tokensPerSecond?.mean, forKey: .tokensPerSecond)
    try object.encode(step, forKey: .step)
    try object.encode(hours, forKey: .hours)
  }
}
