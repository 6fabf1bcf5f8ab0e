import Foundation
import Platform
import Reporting
import TestSupport
import Testing

struct RunRecordTests {
  let folder: TemporaryFolder
  let files: RunFiles

  init() throws {
    folder = try TemporaryFolder()
    files = RunFiles(
      metrics: folder.file("metrics.jsonl"), sessions: folder.file("sessions.jsonl"),
      events: folder.file("tensorboard"), page: folder.file("report.html"),
      evaluations: folder.file("evaluations.jsonl"))
  }

  private func record(after step: Int? = nil, evaluationsBefore: Int? = nil) throws -> RunRecord {
    try RunRecord(
      files, title: "a <run> & \"more\"", configuration: "model: { variant: lstm } # <b>",
      keepingThroughStep: step, evaluationsBeforeStep: evaluationsBefore)
  }

  private func session(
    _ beginning: RunSession.Beginning, step: Int, validation: String? = nil
  ) -> RunSession {
    RunSession(
      beginning, step: step, tokens: step * 4096, lastStep: 400, version: "1", ranks: 2, hosts: 1,
      engine: "an engine", model: "lstm", parameters: 1_234_567, vocabulary: 999,
      validation: validation)
  }

  private func page() throws -> String { try String(contentsOfFile: files.page, encoding: .utf8) }

  @Test func thePageIsSelfContained() throws {
    let record = try record()
    try record.begin(session(.begun, step: 0))
    for step in 1...40 { try record.append(metrics(step: step, loss: 5 - Double(step) / 100)) }
    try record.append(evaluation(step: 20, perplexity: 123.456))
    try record.append(evaluation(step: 40, perplexity: 130))
    try record.finish()
    let page = try page()
    for expected in [
      "<title>a &lt;run&gt; &amp; &quot;more&quot; · milm</title>", "# &lt;b&gt;", "123.5", "step 20",
      "1,234,567 parameters", "2 on 1 host", "int8", "÷ 4.0", "prefers-color-scheme: dark",
      "name=\"viewport\"", "<dt>restarts</dt><dd>none</dd>", "Perplexity", "Loss", "Learning rate",
      "Gradient norm", "Throughput", "Time per step on rank 0", "Bytes sent per step by rank 0",
    ] {
      #expect(page.contains(expected), "\(expected)")
    }
    for forbidden in ["http", "<script", "src=", "href=", "url(", "@import", "NaN", "nan", "inf"] {
      #expect(!page.contains(forbidden), "\(forbidden)")
    }
  }

  /// The page matters most when a run diverges.
  @Test(arguments: [0, 1e-300, 1e13, 1e20, 1e300, .infinity, .nan, -1e300]) func drawsAnyLoss(
    loss: Double
  ) throws {
    let record = try record()
    try record.begin(session(.begun, step: 0))
    for step in 1...5 { try record.append(metrics(step: step, loss: step == 3 ? loss : 4)) }
    try record.append(evaluation(step: 5, perplexity: loss))
    try record.finish()
    #expect(try page().contains("Throughput"))
  }

  @Test func marksRestarts() throws {
    let first = try record()
    try first.begin(session(.begun, step: 0))
    for step in 1...30 { try first.append(metrics(step: step)) }
    // A session from step 25 is discarded when a later one resumes from step 20.
    let second = try record(after: 25)
    try second.begin(session(.resumed, step: 25))
    let third = try record(after: 20)
    try third.begin(session(.resumed, step: 20))
    for step in 21...40 { try third.append(metrics(step: step)) }
    try third.finish()
    #expect(try page().contains("<dt>restarts</dt><dd>at step 20</dd>"))
    let again = try record(after: 40)
    try again.begin(session(.returned, step: 40))
    try again.finish()
    #expect(try page().contains("at step 20, rolled back to step 40"))
  }

  /// Perplexities of different texts cannot be compared: the lower ones of an easier text would stay the best.
  @Test(arguments: [nil, "one", "other"]) func anotherValidationSplitStartsANewBest(validation: String?)
    throws
  {
    let first = try record()
    try first.begin(session(.begun, step: 0, validation: "one"))
    for step in 1...20 { try first.append(metrics(step: step)) }
    try first.append(evaluation(step: 10, perplexity: 12))
    try first.append(evaluation(step: 20, perplexity: 13))
    let second = try record(after: 20, evaluationsBefore: validation == "other" ? 20 : nil)
    try second.begin(session(.resumed, step: 20, validation: validation))
    if validation == "other" { try second.append(evaluation(step: 20, perplexity: 40)) }
    for step in 21...40 { try second.append(metrics(step: step)) }
    try second.append(evaluation(step: 30, perplexity: 41))
    try second.finish()
    try files.drawPage(title: "run", configuration: "", at: folder.file("again.html"))
    for path in [files.page, folder.file("again.html")] {
      let page = try String(contentsOfFile: path, encoding: .utf8)
      let (step, perplexity) = validation == "other" ? (20, 40) : (10, 12)
      #expect(page.contains("valid, best at step \(step) <b>\(perplexity)</b>"))
    }
  }

  @Test func staysSmallInALongRun() throws {
    let record = try record()
    for step in 1...20_000 { try record.append(metrics(step: step, loss: 4 + sin(Double(step)))) }
    for step in 1...2000 { try record.append(evaluation(step: step * 10, perplexity: 50 + Double(step))) }
    try record.finish()
    let page = try page()
    #expect(page.utf8.count < 300_000)
    #expect(page.contains("20,000"))
    // The best evaluation is kept even when evaluations are thinned out.
    #expect(page.contains("valid, best at step 10 <b>51</b>"))
  }

  @Test func drawsTheSamePageFromTheFiles() throws {
    let record = try record()
    try record.begin(session(.begun, step: 0))
    for step in 1...700 { try record.append(metrics(step: step, loss: 4 + sin(Double(step)))) }
    try record.append(evaluation(step: 600, perplexity: 77))
    try record.finish()
    func charts(_ path: String) throws -> Substring {
      let text = try String(contentsOfFile: path, encoding: .utf8)
      return text.prefix { $0 != "†" }.split(separator: "<footer", maxSplits: 1)[0]
    }
    let other = folder.file("other.html")
    try files.drawPage(
      title: "a <run> & \"more\"", configuration: "model: { variant: lstm } # <b>", at: other)
    #expect(try charts(other) == charts(files.page))
  }

  @Test func drawsARunWithoutUsableNumbers() throws {
    try record().finish()
    #expect(try page().contains("</html>"))
    let record = try record()
    var odd = metrics(step: 3, loss: .nan)
    odd["gradientNorm"] = .number(.infinity)
    odd["tokensPerSecond"] = .number(.nan)
    odd["rawBytes"] = .integer(0)
    odd["wireBytes"] = .integer(0)
    try record.append(odd)
    try record.append(evaluation(step: 3, perplexity: .infinity))
    try record.finish()
    let page = try page()
    #expect(page.contains("nothing sent between nodes") && !page.contains("nan") && !page.contains("inf"))
  }

  @Test func reportsAPageThatCannotBeWritten() throws {
    let record = try record()
    try FileManager.default.createDirectory(
      atPath: "\(files.page)/in/the/way", withIntermediateDirectories: true)
    try record.append(evaluation(step: 1, perplexity: 2))
    let error = try #require(throws: MilmError.self) { try record.finish() }
    #expect(
      error.description.contains(
        "report.html: expected a regular file to replace, or none, found a directory"))
    #expect(try folder.entries().allSatisfy { !$0.contains(".tmp") })
  }
}

/// `Tests/EndToEnd/check-tensorboard.sh` reads these files with TensorBoard itself.
struct EventFileTests {
  let folder: TemporaryFolder
  let files: RunFiles

  init() throws {
    folder = try TemporaryFolder()
    files = RunFiles(
      metrics: folder.file("metrics.jsonl"), sessions: folder.file("sessions.jsonl"),
      events: folder.file("tensorboard"), page: folder.file("report.html"),
      evaluations: folder.file("evaluations.jsonl"))
  }

  private func record(after step: Int?) throws -> RunRecord {
    try RunRecord(files, title: "", configuration: "", keepingThroughStep: step)
  }

  /// The contents of a file's records; verifies their lengths and checksums.
  private func records(_ name: String) throws -> [[UInt8]] {
    var rest = Array(try Data(contentsOf: folder.url("tensorboard/\(name)")))[...]
    var records: [[UInt8]] = []
    while !rest.isEmpty {
      let length = rest.prefix(8)
      let count = length.reversed().reduce(0) { $0 << 8 | Int($1) }
      let content = rest.dropFirst(12).prefix(count)
      #expect(Array(rest.dropFirst(8).prefix(4)) == checksum(length))
      #expect(Array(rest.dropFirst(12 + count).prefix(4)) == checksum(content))
      records.append(Array(content))
      rest = rest.dropFirst(16 + count)
    }
    return records
  }

  /// CRC-32C bit by bit, masked as record files have it.
  private func checksum(_ bytes: ArraySlice<UInt8>) -> [UInt8] {
    var value: UInt32 = ~0
    for byte in bytes {
      value ^= UInt32(byte)
      for _ in 0..<8 { value = value & 1 == 1 ? value >> 1 ^ 0x82F6_3B78 : value >> 1 }
    }
    let masked = ((~value) >> 15 | (~value) << 17) &+ 0xA282_EAD8
    return (0..<4).map { UInt8(truncatingIfNeeded: masked >> (8 * $0)) }
  }

  @Test func everyReportIsARecordWithChecksums() throws {
    let record = try record(after: nil)
    for step in 1...3 { try record.append(metrics(step: step)) }
    let names = try folder.entries("tensorboard")
    #expect(names.count == 1 && names[0].hasPrefix("events.out.tfevents."))
    let records = try records(names[0])
    #expect(records.count == 5)
    #expect(records[0].contains(Array("brain.Event:2".utf8)))
    // Field 7, the session's log, of two bytes: field 1 is 1, the start.
    #expect(records[1].contains([0x3A, 2, 8, 1]))
    #expect(records[4].contains(Array("training/loss".utf8)))
    // Field 2, the step, is 3.
    #expect(records[4].contains([0x10, 3]))
  }

  @Test func aResumedRunAddsAFileAndANewRunRemovesThem() throws {
    try record(after: nil).append(metrics(step: 9))
    for _ in 1...3 { _ = try record(after: 5) }
    let names = try folder.entries("tensorboard")
    #expect(names.count == 4)
    // The newest is last by name; its start expires step 6 and later.
    #expect(try records(names[3])[1].contains([0x10, 6]))
    _ = try record(after: nil)
    #expect(try folder.entries("tensorboard").count == 1)
  }
}

/// The report of a long run is drawn from its metrics in bounded memory.
struct LongRunTests {
  /// Lines as `json` writes them, with one that differs in layout, one of another version and some that are none.
  @Test func everyReadableLineCounts() throws {
    let folder = try TemporaryFolder()
    let files = RunFiles(
      metrics: folder.file("metrics.jsonl"), sessions: folder.file("sessions.jsonl"),
      events: folder.file("tensorboard"), page: folder.file("report.html"),
      evaluations: folder.file("evaluations.jsonl"))
    let log = try MetricsLog(path: files.metrics, keepingThroughStep: nil)
    for step in 1...30 { try log.append(metrics(step: step, loss: step == 7 ? .nan : 4 + 1 / Double(step))) }
    try log.append(evaluation(step: 30, perplexity: 50.5))
    func page(_ name: String) throws -> String {
      try files.drawPage(title: "run", configuration: "", at: folder.file(name))
      return try String(contentsOfFile: folder.file(name), encoding: .utf8).split(separator: "<footer")[0]
        + ""
    }
    let expected = try page("first.html")
    #expect(expected.contains("step 30 of 30") && expected.contains("50.5"))

    // The same lines with spaces between, members in another order or more of them, and lines that are none.
    let lines = try String(contentsOfFile: files.metrics, encoding: .utf8).split(separator: "\n").map(
      String.init)
    var odd = lines.enumerated().map { number, line in
      switch number % 3 {
      case 0: line.replacing("\":", with: "\" : ")
      case 1: line.replacing("{", with: #"{"later":[1,{"a":null}],"#)
      default: line
      }
    }
    odd.insert(#"{"step":99999999999999999999}"#, at: 3)
    odd.insert(#"{"step":9223372036854775807,"tokens":9223372036854775807}"#, at: 4)
    odd.insert(#"{"step":-5}"#, at: 5)
    odd.insert("{\"step\":12,\"tokens\":", at: 6)
    odd.insert(String(repeating: "[", count: 100_000), at: 7)
    try odd.joined(separator: "\n").write(toFile: files.metrics, atomically: false, encoding: .utf8)
    #expect(try page("second.html") == expected)
  }

  @Test(.timeLimit(.minutes(2))) func manyLinesAreReadInBoundedMemory() async throws {
    let folder = try TemporaryFolder()
    let log = try MetricsLog(path: folder.file("metrics.jsonl"), keepingThroughStep: nil)
    try log.append(metrics(step: 1_234_567))
    let line = try Data(contentsOf: folder.url("metrics.jsonl"))
    let lines = Data((0..<1000).flatMap { _ in line })
    let file = try FileHandle(forWritingTo: folder.url("metrics.jsonl"))
    for _ in 0..<60 { try file.write(contentsOf: lines) }
    try file.close()
    await #expect(processExitsWith: .success) { [path = folder.path as String] in
      let files = RunFiles(
        metrics: "\(path)/metrics.jsonl", sessions: "\(path)/sessions.jsonl",
        events: "\(path)/tensorboard", page: "\(path)/report.html",
        evaluations: "\(path)/evaluations.jsonl")
      let before = Host.peakByteCount
      try files.drawPage(title: "run", configuration: "")
      // The file has 25 MB, its lines as values have as many again. Tests/Benchmarks/report-lines.sh measures the time.
      try #require(Host.peakByteCount - before < 15_000_000)
      try #require(try Data(contentsOf: URL(filePath: files.page)).count < 300_000)
    }
  }
}
