import Checkpoints
import Foundation
import TestSupport
import Testing

/// Runs whose vocabulary is sharded in groups of two ranks, as four processes under `mpirun`.
@Suite(.tags(.mpi), .serialized, .timeLimit(.minutes(5))) struct VocabularyGroupRunTests {
  /// Five blocks of words, so that each rank of a group has some.
  private func bench() throws -> CommandBench { try CommandBench(wordCount: 2100) }

  private func train(
    _ bench: CommandBench, _ output: String, ranks: Int = 4, settings: [String], _ more: String...
  ) throws -> ProgramRun {
    let settings = (["training.lanes=12", "coordinator.reportEvery=1"] + settings).flatMap { ["--set", $0] }
    return try mpirun(
      ranks,
      [
        program("milm"), "train", bench.configuration, "--corpus", bench.corpus, "--output",
        bench.folder.file(output),
      ] + settings + more)
  }

  /// The sha256 of parameters, optimizer and carried state of the newest checkpoint.
  private func digests(_ bench: CommandBench, _ output: String) throws -> [String] {
    let checkpoint = try Checkpoint(directory: bench.folder.file("\(output)/checkpoints/last"))
    try checkpoint.verify()
    #expect(checkpoint.state.step == 12)
    return try ["model", "optimizer", "carry"].map {
      try #require(checkpoint.state.files["\($0).safetensors"]).sha256
    }
  }

  /// The losses in `metrics.jsonl`, by step.
  private func losses(_ bench: CommandBench, _ output: String) throws -> [Int: Double] {
    struct Line: Decodable {
      let step: Int
      let loss: Double?
      let split: String?
    }
    let text = try String(contentsOfFile: bench.folder.file("\(output)/metrics.jsonl"), encoding: .utf8)
    let lines = try text.split(separator: "\n").map {
      try JSONDecoder().decode(Line.self, from: Data($0.utf8))
    }
    return Dictionary(
      lines.filter { $0.split == nil }.map { ($0.step, $0.loss ?? .nan) }, uniquingKeysWith: { $1 })
  }

  /// Step 6 is no step of a checkpoint, so there are residuals.
  ///
  /// Those of shards are among them where each rank is a node; of two
  /// ranks per node, the two owners of a shard add its gradients in shared memory.
  @Test(arguments: [1, 2]) func aStoppedRunContinuesBitForBit(ranksPerNode: Int) throws {
    let bench = try bench()
    let settings = ["exchange.vocabulary=2", "exchange.ranksPerNode=\(ranksPerNode)"]
    let whole = try train(bench, "whole", settings: settings)
    try #require(whole.status == 0, "\(whole.transcript)")
    let first = try train(bench, "parts", settings: settings, "--steps", "6")
    try #require(first.status == 0, "\(first.transcript)")
    let stopped = try Checkpoint(directory: bench.folder.file("parts/checkpoints/last"))
    #expect(stopped.state.step == 6 && stopped.state.vocabularyGroupSize == 2)
    let residuals = try stopped.tensors(.exchange).names
    #expect(residuals.contains("owner"))
    #expect(residuals.contains { $0.hasPrefix("shard.") } == (ranksPerNode == 1), "\(residuals)")
    let rest = try train(bench, "parts", settings: settings, "--resume", "auto")
    try #require(rest.status == 0, "\(rest.transcript)")
    #expect(try digests(bench, "parts") == digests(bench, "whole"))
    #expect(try losses(bench, "parts") == losses(bench, "whole"))
  }

  /// At step 2, which is no step of a checkpoint, so that residuals change their places too.
  @Test(arguments: [("replicated", "2"), ("2", "replicated"), ("replicated", "sharded"), ("sharded", "2")])
  func aResumeMayChangeThePlacement(_ placements: (before: String, after: String)) throws {
    let bench = try bench()
    let first = try train(
      bench, "run", settings: ["exchange.vocabulary=\(placements.before)"], "--steps", "2")
    try #require(first.status == 0, "\(first.transcript)")
    let rest = try train(
      bench, "run", settings: ["exchange.vocabulary=\(placements.after)"], "--resume", "auto")
    let line = "exchange.vocabulary: \(placements.before) in the run, \(placements.after) now"
    #expect(rest.status == 0 && rest.errors.components(separatedBy: line).count == 2, "\(rest.transcript)")
    #expect(try bench.lastStep("run") == 12)
  }

  /// With `auto` three ranks, which groups of two do not divide, continue a sharded run with a replicated vocabulary.
  @Test func autoContinuesReplicatedWhereGroupsDoNotDivideTheRanks() throws {
    let bench = try bench()
    let exact = ["exchange.codec=none"]
    let grouped = exact + ["exchange.vocabulary=2"]
    let whole = try train(bench, "whole", settings: grouped)
    try #require(whole.status == 0, "\(whole.transcript)")
    let first = try train(bench, "parts", settings: grouped, "--steps", "6")
    try #require(first.status == 0, "\(first.transcript)")
    let rest = try train(
      bench, "parts", ranks: 3, settings: exact + ["exchange.vocabulary=auto"], "--resume", "auto")
    try #require(rest.status == 0, "\(rest.transcript)")
    let (found, expected) = try (losses(bench, "parts"), losses(bench, "whole"))
    #expect(expected.count == 12 && found.count == 12)
    for (step, loss) in expected {
      #expect(abs(try #require(found[step]) - loss) <= 1e-5 * loss, "step \(step)")
    }
  }
}
