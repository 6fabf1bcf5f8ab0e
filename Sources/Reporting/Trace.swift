import Foundation
import Platform

/// A complete event on a thread of a rank, in the trace format of Chrome and Perfetto.
package struct TraceEvent: Sendable {
  /// A thread of a rank, a row in the viewer.
  package enum Track: Int, Sendable, CaseIterable {
    case training = 0
    case communication = 1
    /// The thread that encodes and decodes gradients.
    case coding = 2
  }

  /// An argument of an event.
  package enum Detail: Sendable {
    case integer(Int)
    case text(String)
  }

  package let track: Track
  package let name: String
  /// The kind of work, which a viewer can filter by.
  package let category: String
  /// On a clock common to all ranks.
  package let start: Duration
  package let duration: Duration
  package let details: [(name: String, value: Detail)]

  package init(
    _ track: Track, _ name: String, category: String, start: Duration, duration: Duration,
    details: [(name: String, value: Detail)] = []
  ) {
    self.track = track
    self.name = name
    self.category = category
    self.start = start
    self.duration = duration
    self.details = details
  }

  /// One line of JSON, times in microseconds.
  fileprivate func json(rank: Int) -> String {
    let members = details.map { name, value in
      switch value {
      case .integer(let number): "\(jsonString(name)):\(number)"
      case .text(let text): "\(jsonString(name)):\(jsonString(text))"
      }
    }
    return "{\"ph\":\"X\",\"pid\":\(rank),\"tid\":\(track.rawValue),\"ts\":\(microseconds(start)),"
      + "\"dur\":\(microseconds(duration)),\"cat\":\(jsonString(category)),\"name\":\(jsonString(name)),"
      + "\"args\":{\(members.joined(separator: ","))}}"
  }
}

extension [TraceEvent] {
  /// The lines of a rank's file, ordered by start.
  package func lines(rank: Int) -> [UInt8] {
    Array<UInt8>(sorted { $0.start < $1.start }.map { $0.json(rank: rank) }.joined(separator: ",\n").utf8)
  }
}

/// Exact to the nanosecond, which a Double would round.
private func microseconds(_ duration: Duration) -> String {
  let (seconds, attoseconds) = duration.components
  let nanoseconds = seconds * 1_000_000_000 + attoseconds / 1_000_000_000
  let rest = String(nanoseconds.magnitude % 1000)
  return "\(nanoseconds < 0 ? "-" : "")\(nanoseconds.magnitude / 1000)."
    + String(repeating: "0", count: 3 - rest.count) + rest
}

/// The directory `trace` of a run: one file of events per rank, valid JSON after every write.
package struct TraceFiles: Sendable {
  private static let end = Array("\n]\n".utf8)

  private let directory: String

  /// A directory for ranks with these labels, without the traces of an earlier process.
  package init(directory: String, labels: [String]) throws {
    self.directory = directory
    try makeDirectories(directory)
    for name in try directoryEntries(directory) where name.hasPrefix("rank-") && name.hasSuffix(".json") {
      try removeEntry("\(directory)/\(name)")
    }
    for (rank, label) in labels.enumerated() {
      let file = try OpenFile.appending(path(ofRank: rank))
      try file.append(Array("[\n".utf8) + Self.names(rank: rank, label: label) + Self.end)
    }
  }

  /// Appends the `lines` of a rank's events.
  package func append(_ lines: [UInt8], rank: Int) throws {
    guard !lines.isEmpty else { return }
    let file = try OpenFile.updating(path(ofRank: rank))
    let place = try file.byteCount() - Self.end.count
    do {
      try (Array(",\n".utf8) + lines + Self.end).withUnsafeBytes { try file.write($0, at: place) }
    } catch {
      // Restore the file.
      try? file.truncate(to: place)
      try? Self.end.withUnsafeBytes { try file.write($0, at: place) }
      throw error
    }
  }

  private func path(ofRank rank: Int) -> String {
    let digits = String(rank)
    return "\(directory)/rank-\(String(repeating: "0", count: max(0, 4 - digits.count)))\(digits).json"
  }

  /// The names of the rank and its threads in a viewer.
  private static func names(rank: Int, label: String) -> [UInt8] {
    func event(_ name: String, thread: Int?, _ value: String) -> String {
      let place = thread.map { "\"tid\":\($0)," } ?? ""
      return "{\"ph\":\"M\",\"pid\":\(rank),\(place)\"name\":\"\(name)\",\"args\":{\(value)}}"
    }
    var lines = [
      event("process_name", thread: nil, "\"name\":\(jsonString(label))"),
      event("process_sort_index", thread: nil, "\"sort_index\":\(rank)"),
    ]
    for track in TraceEvent.Track.allCases {
      lines.append(event("thread_name", thread: track.rawValue, "\"name\":\(jsonString("\(track)"))"))
      lines.append(event("thread_sort_index", thread: track.rawValue, "\"sort_index\":\(track.rawValue)"))
    }
    return Array(lines.joined(separator: ",\n").utf8)
  }
}
