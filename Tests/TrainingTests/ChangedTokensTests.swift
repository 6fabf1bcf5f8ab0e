import Checkpoints
import Foundation
import TestSupport
import Testing
import Training

/// Token files that change, or cannot be read, while a run trains on them.
@Suite struct ChangedTokensTests {
  private let bench: TrainingBench

  init() throws { bench = try TrainingBench() }

  /// Trains, and spoils a file once the checkpoint of step 10 is written; returns the error.
  private func train(
    _ configuration: RunConfiguration, rankCount: Int, spoiling split: String,
    _ spoil: @escaping @Sendable (String) throws -> Void
  ) throws -> String {
    let path = bench.folder.file("corpus/\(split).tokens")
    let log = LogLines { line in
      guard line.contains("checkpoint written step=10 ") else { return }
      do { try spoil(path) } catch { Issue.record(error) }
    }
    do {
      try bench.train(configuration, output: "spoilt", rankCount: rankCount, log: log)
      return "no error"
    } catch {
      return "\(error)"
    }
  }

  private static func overwrite(_ path: String) throws {
    let file = try FileHandle(forUpdating: URL(filePath: path))
    let byteCount = try file.seekToEnd()
    try file.seek(toOffset: 64)
    try file.write(contentsOf: Data(repeating: 0x7F, count: Int(byteCount) - 64))
  }

  /// Ranks with the whole vocabulary, and ranks that read the tokens of all lanes of their group.
  @Test(
    arguments: [
      (1, ["training.accumulate=2"], true), (2, ["coordinator.placement=dedicated"], false), (3, [], false),
      (2, ["exchange.vocabulary=sharded"], true),
    ])
  func endTheRunWithACheckpointFromWhichItResumes(
    rankCount: Int, settings: [String], isTruncated: Bool
  ) throws {
    let configuration = try bench.configuration(settings: settings + ["training.steps=4000"])
    let tokens = try Data(contentsOf: bench.folder.url("corpus/train.tokens"))
    let said = try train(configuration, rankCount: rankCount, spoiling: "train") { path in
      if isTruncated { truncate(path, 100) } else { try Self.overwrite(path) }
    }
    #expect(
      said.contains(isTruncated ? "found the file truncated to 100 bytes" : "expected ids below ")
        && said.contains("train.tokens") && said.contains("; the run has stopped after step "), "\(said)")
    let step = try bench.checkpoint("spoilt").state.step
    #expect(step >= 10 && said.contains("after step \(step), with a checkpoint"), "\(said)")

    try tokens.write(to: bench.folder.url("corpus/train.tokens"))
    try bench.train(configuration, output: "spoilt", rankCount: rankCount, resume: .auto, lastStep: step + 7)
    try bench.train(configuration, output: "whole", rankCount: rankCount, lastStep: step + 7)
    #expect(try bench.digests("spoilt") == bench.digests("whole"))
  }

  @Test func ofTheValidationSplitEndTheRunToo() throws {
    let configuration = try bench.configuration(
      "training.steps=4000", "coordinator.evaluateEvery=30", "coordinator.checkpointEvery=10")
    let said = try train(configuration, rankCount: 2, spoiling: "valid") { truncate($0, 100) }
    #expect(
      said.contains("valid.tokens, found the file truncated to 100 bytes")
        && said.contains("; the run has stopped after step "), "\(said)")
    let state = try bench.checkpoint("spoilt").state
    #expect(state.step >= 30 && said.contains("after step \(state.step), with a checkpoint"), "\(said)")
    #expect(state.pendingEvaluation?.step == 30)
  }

  /// With the last step, the tokens of the one after it are of no interest.
  @Test func afterTheLastStepDoNotMatter() throws {
    let configuration = try bench.configuration("training.steps=11", "coordinator.evaluateEvery=0")
    let said = try train(configuration, rankCount: 2, spoiling: "train") { truncate($0, 100) }
    #expect(said == "no error" || said.contains("after step 10,"), "\(said)")
  }
}
