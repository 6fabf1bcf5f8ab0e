import Foundation
import Reporting
import TestSupport
import Testing

struct MetricTableTests {
  let folder: TemporaryFolder
  let files: RunFiles
  /// The standard table and one more metric, as a contributor would add it.
  let table = MetricTable(
    MetricTable.training.metrics + [
      Metric(
        "paddingFraction", .number, .mean, group: "speed", progress: .decimals(2),
        chart: .init("Padding", "fraction of all tokens", reading: "padding"))
    ])

  init() throws {
    folder = try TemporaryFolder()
    files = RunFiles(
      metrics: folder.file("metrics.jsonl"), sessions: folder.file("sessions.jsonl"),
      events: folder.file("tensorboard"), page: folder.file("report.html"),
      evaluations: folder.file("evaluations.jsonl"))
  }

  private func record(after step: Int?) throws -> RunRecord {
    try RunRecord(files, title: "", configuration: "", keepingThroughStep: step, table: table)
  }

  private func page() throws -> String { try String(contentsOfFile: files.page, encoding: .utf8) }

  /// The scalars of tag `speed/paddingFraction` in all event files.
  private func eventScalars() throws -> [Float] {
    // Summary.Value: field 1 is the tag, field 2 the value.
    let tag = Array("speed/paddingFraction".utf8)
    let start = [0x0A, UInt8(tag.count)] + tag + [0x15]
    return try folder.entries("tensorboard").flatMap { name in
      let bytes = Array(try Data(contentsOf: folder.url("tensorboard/\(name)")))
      return bytes.indices.compactMap { index -> Float? in
        guard bytes[index...].starts(with: start), index + start.count + 4 <= bytes.count else { return nil }
        let bits = bytes[(index + start.count)...].prefix(4).reversed().reduce(0) { $0 << 8 | UInt32($1) }
        return Float(bitPattern: bits)
      }
    }
  }

  @Test func aMetricOfTheTableAppearsInAllOutputs() throws {
    let recorder = Recorder()
    let progress = TrainingProgress(stepCount: 40, output: recorder.output(isTerminal: false))
    let first = try record(after: nil)
    var accumulator = MetricsAccumulator(table)
    for step in 1...20 {
      accumulator.add(["step": .integer(step), "tokens": .integer(step * 100)])
      accumulator.add(["paddingFraction": .sum(Double(step), over: 100)])
      guard step % 2 == 0 else { continue }
      let line = accumulator.finishLine()
      try first.append(line)
      progress.update(line)
    }
    try first.finish()

    let lines = try String(contentsOfFile: files.metrics, encoding: .utf8).split(separator: "\n")
    #expect(lines.count == 10)
    #expect(lines[0].hasSuffix(#","skippedSteps":0,"paddingFraction":0.015}"#))
    #expect(lines[9].hasSuffix(#""paddingFraction":0.195}"#))
    #expect(try eventScalars() == (1...10).map { Float((Double(4 * $0) - 1) / 200) })
    #expect(recorder.written.first?.contains(" skippedSteps=0 paddingFraction=0.01 ") == true)
    #expect(recorder.written.last?.contains(" paddingFraction=0.20 ") == true)
    let drawn = try page()
    #expect(drawn.contains("<h2>Padding <small>fraction of all tokens</small></h2>"))
    #expect(drawn.contains("latest <b>0.195</b>") && drawn.contains("step 2<br>padding 0.015"))

    // A resumed run reads the values back, and repeats the events that its new file expires.
    let second = try RunRecord(
      files, title: "", configuration: "", keepingThroughStep: 20, evaluationsBeforeStep: 19, table: table)
    #expect(try eventScalars().count == 11)
    try second.finish()
    #expect(try page().contains("step 2<br>padding 0.015"))
  }

  @Test func measurementsCombineAsTheTableSays() {
    var accumulator = MetricsAccumulator(
      MetricTable([
        Metric("last", .number, .last), Metric("sum", .integer, .sum), Metric("mean", .number, .mean),
        Metric("exponential", .number, .exponential(of: "mean")), Metric("name", .text, .last),
        Metric("seconds", .number, .sum),
      ]))
    accumulator.add(["last": .number(1), "sum": .integer(3), "mean": .sum(6, over: 2), "name": .text("a")])
    // A skipped step has no loss that counts.
    accumulator.add(["mean": .sum(.nan, over: 50), "seconds": .number(0.5)])
    accumulator.add(["last": .number(2), "sum": .integer(4), "mean": .sum(1, over: 5), "name": .text("b")])
    let line = accumulator.finishLine()
    #expect(line["last"] == .number(2) && line["sum"] == .integer(7) && line["mean"] == .number(1))
    #expect(line["exponential"] == .number(exp(1)) && line["name"] == .text("b"))
    #expect(line["seconds"] == .number(0.5))
    let empty = accumulator.finishLine()
    #expect(empty["sum"] == .integer(0) && empty["name"] == .text(""))
    guard case .number(let mean) = empty["mean"], mean.isNaN else {
      Issue.record("expected NaN, found \(empty["mean"])")
      return
    }
  }

  @Test func tensorBoardTagsAreThoseOfEarlierVersions() throws {
    try record(after: nil).append(metrics(step: 1))
    let name = try #require(try folder.entries("tensorboard").first)
    let text = String(decoding: try Data(contentsOf: folder.url("tensorboard/\(name)")), as: UTF8.self)
    let tags = Set(text.matches(of: /(training|speed|exchange|evaluation)\/[A-Za-z]+/).map { String($0.0) })
    #expect(
      tags == [
        "training/loss", "training/perplexity", "training/learningRate", "training/gradientNorm",
        "training/skippedSteps", "speed/tokensPerSecond", "speed/computeSeconds", "exchange/exchangeSeconds",
        "exchange/exposedSeconds", "exchange/rawBytes", "exchange/wireBytes",
      ])
  }

  @Test func anEvaluationIsTaggedByItsSplit() throws {
    try record(after: nil).append(evaluation(step: 1, perplexity: 5))
    let name = try #require(try folder.entries("tensorboard").first)
    let text = String(decoding: try Data(contentsOf: folder.url("tensorboard/\(name)")), as: UTF8.self)
    #expect(text.contains("valid/perplexity") && !text.contains("nll"))
  }
}
