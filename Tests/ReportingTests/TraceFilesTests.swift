import Foundation
import Platform
import Reporting
import TestSupport
import Testing

struct TraceFilesTests {
  let folder: TemporaryFolder

  init() throws { folder = try TemporaryFolder() }

  private func events(_ rank: Int) throws -> [[String: Any]] {
    let data = try Data(contentsOf: folder.url(String(format: "trace/rank-%04d.json", rank)))
    return try #require(try JSONSerialization.jsonObject(with: data) as? [[String: Any]])
  }

  private func event(_ name: String, at start: Duration) -> TraceEvent {
    TraceEvent(
      .communication, name, category: "exchange", start: start, duration: .nanoseconds(1500),
      details: [("bytes", .integer(7)), ("phase", .text("re\"duce"))])
  }

  @Test func isValidAfterEveryWriteAndOrderedByTime() throws {
    let files = try TraceFiles(directory: folder.file("trace"), labels: ["rank 0 (a)", "rank 1 (\"b\")"])
    #expect(try events(1).allSatisfy { $0["ph"] as? String == "M" })
    let first = [event("later", at: .microseconds(20)), event("earlier", at: .nanoseconds(10_001))]
    try files.append(first.lines(rank: 1), rank: 1)
    #expect(try events(1).compactMap { $0["ts"] as? Double } == [10.001, 20])
    try files.append([event("last", at: .seconds(3))].lines(rank: 1), rank: 1)
    try files.append([], rank: 1)
    let found = try events(1).filter { $0["ph"] as? String == "X" }
    #expect(found.compactMap { $0["name"] as? String } == ["earlier", "later", "last"])
    #expect(found[0]["dur"] as? Double == 1.5)
    #expect(found.allSatisfy { $0["pid"] as? Int == 1 && $0["tid"] as? Int == 1 })
    let arguments = try #require(found[0]["args"] as? [String: Any])
    #expect(arguments["bytes"] as? Int == 7 && arguments["phase"] as? String == "re\"duce")
    #expect(try !events(0).contains { $0["ph"] as? String == "X" })
  }

  @Test func keepsTimesBeforeTheOriginOfTheClock() throws {
    let files = try TraceFiles(directory: folder.file("trace"), labels: ["a"])
    try files.append([event("early", at: .nanoseconds(-2_000_500))].lines(rank: 0), rank: 0)
    #expect(try events(0).last?["ts"] as? Double == -2000.5)
  }

  @Test func removesTracesOfAnEarlierProcess() throws {
    _ = try TraceFiles(directory: folder.file("trace"), labels: ["a", "b", "c"])
    try folder.write("mine", to: "trace/notes.txt")
    _ = try TraceFiles(directory: folder.file("trace"), labels: ["a"])
    #expect(try folder.entries("trace") == ["notes.txt", "rank-0000.json"])
  }

  @Test func aDirectoryThatCannotBeCreatedIsOneLineOfError() throws {
    try folder.write("a file", to: "trace")
    let error = try #require(throws: MilmError.self) {
      try TraceFiles(directory: folder.file("trace"), labels: ["a"])
    }
    #expect(!error.description.contains("\n"))
  }
}
