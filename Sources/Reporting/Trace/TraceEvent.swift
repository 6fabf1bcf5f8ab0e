import Foundation

/// Something that took its time on a thread of a rank, as Chrome's and Perfetto's viewers show it.
public struct TraceEvent: Sendable {
  /// A thread of a rank, drawn as a row.
  public enum Track: Int, Sendable, CaseIterable {
    /// The thread that trains.
    case training = 0
    /// The thread that talks to other ranks.
    case communication = 1
    /// The thread that codes gradients meanwhile.
    case coding = 2
  }

  /// A detail of an event.
  public enum Detail: Sendable {
    /// A whole number, such as bytes.
    case integer(Int)
    /// A word.
    case text(String)
  }

  /// Where it is drawn.
  public let track: Track
  /// What was done.
  public let name: String
  /// The kind of work, by which a viewer can search.
  public let category: String
  /// When it began, on a clock that all ranks share.
  public let start: Duration
  /// How long it took.
  public let duration: Duration
  /// What a viewer shows of it when it is chosen.
  public let details: [(name: String, value: Detail)]

  /// An event that began at `start` on a clock that all ranks share.
  public init(
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

  /// The event as JSON on one line: a complete one, with beginning and length in microseconds.
  public func json(rank: Int) -> String {
    let members = details.map { name, value in
      switch value {
      case .integer(let number): "\(quoted(name)):\(number)"
      case .text(let text): "\(quoted(name)):\(quoted(text))"
      }
    }
    return "{\"ph\":\"X\",\"pid\":\(rank),\"tid\":\(track.rawValue),\"ts\":\(microseconds(start)),"
      + "\"dur\":\(microseconds(duration)),\"cat\":\(quoted(category)),\"name\":\(quoted(name)),"
      + "\"args\":{\(members.joined(separator: ","))}}"
  }
}

extension [TraceEvent] {
  /// The events as they stand in a rank's file, in the order in which they began, a line each.
  public func lines(rank: Int) -> [UInt8] {
    Array<UInt8>(sorted { $0.start < $1.start }.map { $0.json(rank: rank) }.joined(separator: ",\n").utf8)
  }
}

/// To the nanosecond, without the rounding of a Double.
private func microseconds(_ duration: Duration) -> String {
  let (seconds, attoseconds) = duration.components
  let nanoseconds = seconds * 1_000_000_000 + attoseconds / 1_000_000_000
  let rest = String(nanoseconds.magnitude % 1000)
  return "\(nanoseconds < 0 ? "-" : "")\(nanoseconds.magnitude / 1000)."
    + String(repeating: "0", count: 3 - rest.count) + rest
}
