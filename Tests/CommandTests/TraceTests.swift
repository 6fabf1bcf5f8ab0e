import Foundation
import TestSupport
import Testing

/// `train --trace` under `mpirun`, as a viewer reads it.
@Suite(.tags(.mpi), .serialized, .timeLimit(.minutes(5))) struct TraceTests {
  private struct Event: Decodable {
    struct Arguments: Decodable {
      let step: Int?
      let bucket: Int?
      let phase: String?
      let bytes: Int?
    }

    let ph: String
    let pid: Int
    let tid: Int?
    let ts: Double?
    let dur: Double?
    let cat: String?
    let name: String
    let args: Arguments

    var start: Double { ts ?? .nan }
    var end: Double { start + (dur ?? .nan) }
  }

  private func trace(ranks: Int, steps: Int = 40) throws -> [[Event]] {
    let bench = try CommandBench()
    let output = bench.folder.file("run")
    let run = try bench.mpirunMilm(
      ranks, "train", bench.configuration, "--corpus", bench.corpus, "--output", output, "--trace", "--set",
      "training.steps=\(steps)", "--set", "model.hidden=96", "--set", "model.embedding=48")
    try #require(run.status == 0, "\(run.transcript)")
    var traces: [[Event]] = []
    for rank in 0..<ranks { traces.append(try Self.events(in: output, rank: rank)) }
    return traces
  }

  private static func events(in run: String, rank: Int) throws -> [Event] {
    let path = "\(run)/trace/" + String(format: "rank-%04d.json", rank)
    let events = try JSONDecoder().decode([Event].self, from: Data(contentsOf: URL(filePath: path)))
    try #require(events.filter { $0.pid != rank }.isEmpty)
    return events.filter { $0.ph != "M" }
  }

  @Test func showsEveryRanksWorkWithClocksAligned() throws {
    let ranks = try trace(ranks: 2)
    for events in ranks {
      let areComplete = events.allSatisfy { $0.ph == "X" && $0.start.isFinite && $0.end >= $0.start }
      let areInOrder = zip(events, events.dropFirst()).allSatisfy { $0.start <= $1.start }
      #expect(areComplete && areInOrder)
      let names = Set(events.map(\.name))
      #expect(
        names.isSuperset(of: [
          "forward, softmax backward", "decoder backward", "lstm backward", "encoder backward",
          "wait for gradient exchange", "optimizer step",
        ]), "\(names)")
      let steps = events.filter { $0.cat == "step" }
      // The first twenty, then ten of the next twenty.
      #expect(steps.count == 30)
      for event in events where event.tid == 0 && event.cat != "step" {
        let isWithinAStep = steps.contains { $0.start <= event.start && event.end <= $0.end + 0.01 }
        #expect(isWithinAStep, "\(event.name)")
      }
      let computed = events.filter { $0.cat == "compute" }
      let exchanged = events.filter { $0.cat == "exchange" }
      let overlaps = exchanged.contains { span in
        computed.contains { $0.start < span.end && span.start < $0.end }
      }
      #expect(overlaps, "exchange and compute")
      let sentByteCount = exchanged.filter { $0.name.hasPrefix("wire ") }.reduce(0) {
        $0 + ($1.args.bytes ?? 0)
      }
      #expect(sentByteCount > 0)
    }
    // Who sends and receives a bucket does so at the same time as the one who receives and sends it.
    var count = 0
    for event in ranks[0] where event.name.hasPrefix("wire ") {
      let others = ranks[1].filter {
        $0.name == event.name && $0.args.step == event.args.step && $0.args.phase == event.args.phase
          && $0.args.bucket == event.args.bucket
      }
      #expect(others.count == 1, "\(event.name)")
      for other in others {
        #expect(event.start <= other.end + 5 && other.start <= event.end + 5, "\(event.name)")
        count += 1
      }
    }
    #expect(count > 30)
  }

  @Test func aRankAloneIsTracedToo() throws {
    let events = try trace(ranks: 1, steps: 8)
    let steps = events[0].filter { $0.cat == "step" }
    #expect(steps.count == 8)
  }
}
