import Platform

/// Reads the lines that are appended to the `metrics.jsonl` of a run, also one of another host.
package struct MetricsFollower {
  private let path: String
  private let table: MetricTable
  /// Of the file that was read last: a run that resumes replaces it.
  private var fileNumber: UInt64?
  private var position = 0

  /// Follows a file from its beginning; it may appear later.
  package init(_ path: String, table: MetricTable = .training) {
    self.path = path
    self.table = table
  }

  /// The complete lines since the last call; after the file was replaced, all of its lines.
  package mutating func newLines() throws -> [MetricsLine] {
    guard let file = try openIfPresent(path) else { return [] }
    let number = try file.number()
    if number != fileNumber { (fileNumber, position) = (number, 0) }
    if try file.byteCount() < position { position = 0 }
    try file.seek(to: position)
    var lines: [MetricsLine] = []
    var incompleteCount = 0
    try file.forEachLine { bytes, isComplete in
      guard isComplete else {
        incompleteCount = bytes.count
        return
      }
      if let line = MetricsLine(bytes, training: table) { lines.append(line) }
    }
    position = file.position - incompleteCount
    return lines
  }
}
