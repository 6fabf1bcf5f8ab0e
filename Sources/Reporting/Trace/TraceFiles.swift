import Foundation
import Platform

/// The folder `trace` of a run: a file of events for each rank, valid JSON after every write.
public struct TraceFiles: Sendable {
  private static let end = Array("\n]\n".utf8)

  private let folder: String

  /// A folder for the ranks with these labels, by rank, which is emptied of what an earlier process traced.
  ///
  /// Throws `MilmError`.
  public init(folder: String, labels: [String]) throws {
    self.folder = folder
    do {
      try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
      for name in try FileManager.default.contentsOfDirectory(atPath: folder)
      where name.hasPrefix("rank-") && name.hasSuffix(".json") {
        unlink("\(folder)/\(name)")
      }
    } catch {
      throw MilmError(folder, "cannot make the folder: \(error.localizedDescription)")
    }
    for (rank, label) in labels.enumerated() {
      let file = try OpenFile.appending(path(ofRank: rank))
      try file.append(Array("[\n".utf8) + Self.names(rank: rank, label: label) + Self.end)
    }
  }

  /// Adds a rank's events, as `lines` gives them; throws `MilmError`.
  public func append(_ lines: [UInt8], rank: Int) throws {
    guard !lines.isEmpty else { return }
    let path = path(ofRank: rank)
    let descriptor = open(path, O_WRONLY | O_CLOEXEC)
    let code = errno
    guard descriptor != -1 else { throw MilmError(path, cannot: "open", code: code) }
    defer { close(descriptor) }
    let place = lseek(descriptor, off_t(-Self.end.count), SEEK_END)
    let content = Array(",\n".utf8) + lines + Self.end
    let count = pwrite(descriptor, content, content.count, place)
    guard count != content.count else { return }
    let failure = count == -1 ? errno : ENOSPC
    // What was there before is whole again.
    ftruncate(descriptor, place)
    pwrite(descriptor, Self.end, Self.end.count, place)
    throw MilmError(path, cannot: "append", code: failure)
  }

  private func path(ofRank rank: Int) -> String {
    let digits = String(rank)
    return "\(folder)/rank-\(String(repeating: "0", count: max(0, 4 - digits.count)))\(digits).json"
  }

  /// What a viewer calls the rank and its threads.
  private static func names(rank: Int, label: String) -> [UInt8] {
    func event(_ name: String, thread: Int?, _ value: String) -> String {
      let place = thread.map { "\"tid\":\($0)," } ?? ""
      return "{\"ph\":\"M\",\"pid\":\(rank),\(place)\"name\":\"\(name)\",\"args\":{\(value)}}"
    }
    var lines = [
      event("process_name", thread: nil, "\"name\":\(quoted(label))"),
      event("process_sort_index", thread: nil, "\"sort_index\":\(rank)"),
    ]
    for track in TraceEvent.Track.allCases {
      lines.append(event("thread_name", thread: track.rawValue, "\"name\":\(quoted("\(track)"))"))
      lines.append(event("thread_sort_index", thread: track.rawValue, "\"sort_index\":\(track.rawValue)"))
    }
    return Array(lines.joined(separator: ",\n").utf8)
  }
}
