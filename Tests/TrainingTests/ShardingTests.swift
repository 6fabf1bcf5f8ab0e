import Checkpoints
import Communication
import Foundation
import Platform
import TestSupport
import Testing
import Training

/// Training with a sharded vocabulary has the results of training with a replicated one.
@Suite struct ShardingTests {
  /// Five blocks of rows, so that each of four ranks has some.
  private static let wordCount = 2500

  private func bench() throws -> TrainingBench { try TrainingBench(wordCount: Self.wordCount) }

  private func expectEqualLosses(
    _ output: String, _ expected: String, in bench: TrainingBench, tolerance: Double = 1e-5
  ) throws {
    let wanted = try bench.losses(expected)
    let found = try bench.losses(output)
    #expect(found.count == wanted.count)
    for (step, loss) in found {
      let expected = try #require(wanted[step])
      #expect(abs(loss - expected) <= tolerance * expected, "step \(step) of \(output)")
    }
  }

  @Test(arguments: ["lstm", "multencdec"], ["worker", "dedicated"])
  func lossesAreThoseOfAReplicatedVocabulary(variant: String, placement: String) throws {
    let bench = try bench()
    let whole = try bench.configuration("model.variant=\(variant)")
    let best = try bench.train(whole, output: "whole").bestPerplexity
    let sharded = try bench.configuration(
      "model.variant=\(variant)", "exchange.vocabulary=sharded", "coordinator.placement=\(placement)")
    for rankCount in placement == "worker" ? 1...4 : 2...4 {
      let outcome = try bench.train(sharded, output: "run-\(rankCount)", rankCount: rankCount)
      try expectEqualLosses("run-\(rankCount)", "whole", in: bench)
      // The whole matrix is evaluated and written.
      let (found, wanted) = try (#require(outcome.bestPerplexity), #require(best))
      #expect(abs(found - wanted) <= 1e-4 * wanted, "\(rankCount) ranks")
      try expectEqualParameters("run-\(rankCount)", "whole", in: bench)
    }
  }

  private func expectEqualParameters(_ output: String, _ expected: String, in bench: TrainingBench) throws {
    let (found, wanted) = try (
      bench.checkpoint(output).tensors(.model), bench.checkpoint(expected).tensors(.model)
    )
    for name in wanted.names {
      let values = try wanted.withFloats(of: name) { Array($0) }
      let largest = try found.withFloats(of: name) { zip($0, values).reduce(0) { max($0, abs($1.0 - $1.1)) } }
      #expect(largest <= 2e-3, "\(name) of \(output)")
    }
  }

  /// One block of rows: all ranks but the first have none.
  @Test(arguments: [2, 3]) func ranksWithoutRowsTakePart(rankCount: Int) throws {
    let bench = try TrainingBench()
    try bench.train(try bench.configuration(), output: "whole")
    let sharded = try bench.configuration("exchange.vocabulary=sharded")
    try bench.train(sharded, output: "run", rankCount: rankCount)
    try expectEqualLosses("run", "whole", in: bench)
  }

  @Test func accumulatedSegmentsGiveTheGradientOfAllOfThem() throws {
    let bench = try bench()
    let whole = try bench.configuration("training.accumulate=2", "training.steps=6")
    try bench.train(whole, output: "whole")
    let sharded = try bench.configuration(
      "training.accumulate=2", "training.steps=6", "exchange.vocabulary=sharded")
    try bench.train(sharded, output: "run", rankCount: 3)
    try expectEqualLosses("run", "whole", in: bench)
  }

  /// Ranks of one host use shared memory for what is replicated, and messages for the shards.
  @Test func severalRanksPerNodeHaveTheSameLosses() throws {
    let bench = try bench()
    try bench.train(try bench.configuration(), output: "whole")
    let sharded = try bench.configuration("exchange.vocabulary=sharded")
    try bench.train(sharded, output: "run", rankCount: 4, ranksPerNode: 2)
    try expectEqualLosses("run", "whole", in: bench)
  }

  @Test(arguments: ["float32", "bfloat16"], [1, 2])
  func runsRepeatBitForBit(precision: String, threadCount: Int) throws {
    let bench = try bench()
    let sharded = try bench.configuration(
      "exchange.vocabulary=sharded", "exchange.codec=int8", "training.precision=\(precision)",
      "training.threads=\(threadCount)")
    for output in ["one", "two"] { try bench.train(sharded, output: output, rankCount: 3) }
    #expect(try bench.digests("one") == bench.digests("two"))
    #expect(try bench.losses("one") == bench.losses("two"))
  }

  /// At step 7 there are residuals, at step 10 a snapshot is in transfer.
  @Test(arguments: ["worker", "dedicated"], [7, 10])
  func aResumedRunEqualsTheUninterruptedOneBitForBit(placement: String, lastStep: Int) throws {
    let bench = try bench()
    let sharded = try bench.configuration(
      "exchange.vocabulary=sharded", "exchange.codec=int8", "coordinator.placement=\(placement)")
    try bench.train(sharded, output: "whole", rankCount: 3)
    try bench.train(sharded, output: "parts", rankCount: 3, lastStep: lastStep)
    try bench.train(sharded, output: "parts", rankCount: 3, resume: .auto)
    #expect(try bench.digests("parts") == bench.digests("whole"))
    #expect(try bench.losses("parts") == bench.losses("whole"))
  }

  @Test func aRunResumesOnAnotherNumberOfRanks() throws {
    let bench = try bench()
    let sharded = try bench.configuration("exchange.vocabulary=sharded")
    try bench.train(sharded, output: "whole", rankCount: 2)
    try bench.train(sharded, output: "parts", rankCount: 2, lastStep: 7)
    try bench.train(sharded, output: "parts", rankCount: 3, resume: .auto, lastStep: 12)
    try bench.train(sharded, output: "parts", rankCount: 1, resume: .auto)
    try expectEqualLosses("parts", "whole", in: bench)
  }

  /// A checkpoint that lacks a shard would verify, and be wrong.
  @Test func shardsThatDoNotArriveLeaveNoCheckpoint() throws {
    let bench = try bench()
    let sharded = try bench.configuration("exchange.vocabulary=sharded", "coordinator.evaluateEvery=0")
    let log = LogLines()
    #expect(throws: (any Error).self) {
      try bench.train(
        sharded, output: "run", rankCount: 2, log: log, snapshotLink: { broken($0, after: 2) })
    }
    #expect(log.contains("could not write the checkpoint of step 5"))
    #expect(throws: (any Error).self) { try bench.checkpoint("run") }
  }
}
