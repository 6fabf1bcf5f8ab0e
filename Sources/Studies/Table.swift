/// Rows of cells under names, for a file or a person.
public struct Table: Sendable, Equatable {
  /// The names of the columns.
  public let header: [String]
  /// The rows, each as long as the header.
  public private(set) var rows: [[String]] = []

  /// A table without rows.
  public init(_ header: [String]) { self.header = header }

  /// Adds a row.
  public mutating func add(_ row: [String]) {
    precondition(row.count == header.count, "a row of \(row.count) cells under \(header.count) names")
    rows.append(row)
  }

  /// Comma-separated values; no cell of a study holds a comma.
  public var csv: String {
    ([header] + rows).map { $0.joined(separator: ",") + "\n" }.joined()
  }

  /// The table as Markdown.
  public var markdown: String {
    let rule = Array(repeating: "---", count: header.count)
    return ([header, rule] + rows).map { "| \($0.joined(separator: " | ")) |\n" }.joined()
  }
}
