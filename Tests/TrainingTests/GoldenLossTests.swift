import Checkpoints
import Foundation
import TestSupport
import Testing

/// The losses of twenty steps of small models, which change only where the computation is meant to change.
///
/// `Golden/*.txt` hold the losses and a hash of the final parameters, recorded by `MILM_RECORD_GOLDEN=1 swift test -c release
/// --filter GoldenLossTests`. On the recorded engine, CPU level, processor and build they are compared bit for bit,
/// elsewhere to 1e-5 of the loss: engines differ in the order of their sums.
@Suite struct GoldenLossTests {
  struct Case: Sendable, CustomStringConvertible {
    let variant: String
    let vocabulary: String
    let rankCount: Int
    let codec: String

    var description: String { "\(variant)-\(vocabulary)-\(rankCount)-\(codec)" }
    var settings: [String] {
      ["model.variant=\(variant)", "exchange.vocabulary=\(vocabulary)", "exchange.codec=\(codec)"]
    }
  }

  /// Where the vocabulary's rows are: on every rank, sharded over all ranks, and in two groups of two ranks.
  private static let placements = [
    ("replicated", 1), ("replicated", 2), ("sharded", 1), ("sharded", 2), ("2", 4),
  ]

  static let cases = ["lstm", "multdec", "multencdec"].flatMap { variant in
    placements.flatMap { vocabulary, rankCount in
      ["none", "int8"].map {
        Case(variant: variant, vocabulary: vocabulary, rankCount: rankCount, codec: $0)
      }
    }
  }

  @Test(arguments: cases) func lossesAreTheRecordedOnes(_ golden: Case) throws {
    // Words enough for five blocks of the vocabulary, so that both of two ranks own some.
    let bench = try TrainingBench(wordCount: 2500)
    var settings = golden.settings
    // Two ranks on one node would exchange nothing.
    settings.append("exchange.ranksPerNode=1")
    try bench.train(
      try bench.configuration(settings: settings), output: "run", rankCount: golden.rankCount)
    let found = try GoldenRun(bench, output: "run")

    let file = Self.folder.appending(component: "\(golden).txt")
    if ProcessInfo.processInfo.environment["MILM_RECORD_GOLDEN"] != nil {
      try found.text(title: "\(golden)").write(to: file, atomically: true, encoding: .utf8)
    }
    let recorded = try GoldenRun(text: String(contentsOf: file, encoding: .utf8))
    #expect(found.losses.count == recorded.losses.count)
    if found.machine == recorded.machine {
      #expect(found.losses == recorded.losses)
      #expect(found.parameterHash == recorded.parameterHash)
    } else {
      for (step, (loss, expected)) in zip(found.losses, recorded.losses).enumerated() {
        #expect(abs(loss - expected) <= 1e-5 * expected, "step \(step + 1)")
      }
    }
  }

  private static let folder = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "Golden")
}

/// What a golden file holds.
private struct GoldenRun {
  /// What the last bits depend on: engine, CPU level, processor, and whether the C loops were optimised.
  let machine: String
  /// By step, with the nine digits of `metrics.jsonl`.
  let losses: [Double]
  /// FNV-1a over the bytes of all parameters, in the order of their names.
  let parameterHash: String

  init(_ bench: TrainingBench, output: String) throws {
    let checkpoint = try bench.checkpoint(output)
    machine = [checkpoint.state.engine, checkpoint.state.cpuLevel, Self.processor, Self.build]
      .joined(separator: " | ")
    losses = try bench.losses(output).sorted { $0.key < $1.key }.map(\.value)
    let file = try checkpoint.tensors(.model)
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    for name in file.names.sorted() {
      try file.withFloats(of: name) { values in
        for byte in UnsafeRawBufferPointer(values) { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
      }
    }
    parameterHash = String(hash, radix: 16)
  }

  init(text: String) throws {
    let lines = text.split(separator: "\n").filter { !$0.hasPrefix("#") }
      .map { $0.split(separator: " ", maxSplits: 1).map(String.init) }
    func value(_ key: String) throws -> String { try #require(lines.first { $0[0] == key })[1] }
    machine = try value("machine")
    parameterHash = try value("parameters")
    losses = try lines.filter { Int($0[0]) != nil }.map { try #require(Double($0[1])) }
  }

  func text(title: String) -> String {
    let rows = losses.enumerated().map { "\($0.offset + 1) \($0.element)" }
    return (["# \(title): step and loss", "machine \(machine)", "parameters \(parameterHash)"] + rows)
      .joined(separator: "\n") + "\n"
  }

  private static var processor: String {
    let lines = (try? String(contentsOfFile: "/proc/cpuinfo", encoding: .utf8))?.split(separator: "\n") ?? []
    return ["cpu family", "model", "model name"].compactMap { key in
      lines.first { $0.split(separator: ":")[0].trimmingCharacters(in: .whitespaces) == key }?
        .split(separator: ":").last?.trimmingCharacters(in: .whitespaces)
    }.joined(separator: " ")
  }

  private static var build: String {
    #if DEBUG
      "debug"
    #else
      "release"
    #endif
  }
}
