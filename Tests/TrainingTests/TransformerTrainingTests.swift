import Checkpoints
import TestSupport
import Testing
import Training

/// Models whose carried state is more than one row of each lane.
@Suite struct TransformerTrainingTests {
  private static func settings(_ variant: String) -> [String] {
    [
      "model.variant=\(variant)", "model.layers=2", "model.width=8", "model.heads=2", "model.inner=9",
      "model.memory=7", "model.dropout.hidden=0.1", "model.dropout.attention=0.1", "exchange.codec=int8",
    ]
  }

  /// Stops at a checkpoint's step, between checkpoints and across epochs; the memory is longer than a segment.
  @Test(arguments: ["txl", "txl-multdec", "txl-mi"], ["replicated", "sharded"])
  func aResumedRunEqualsTheUninterruptedOneBitForBit(variant: String, vocabulary: String) throws {
    let bench = try TrainingBench(tokenCount: 700)
    let configuration = try bench.configuration(
      settings: Self.settings(variant) + ["exchange.vocabulary=\(vocabulary)"])
    let whole = try bench.train(configuration, output: "whole", rankCount: 2)
    for stop in [7, 10] {
      try bench.train(configuration, output: "parts", rankCount: 2, resume: .auto, lastStep: stop)
    }
    let parts = try bench.train(configuration, output: "parts", rankCount: 2, resume: .auto)
    #expect(parts == whole)
    #expect(try bench.digests("parts") == bench.digests("whole"))
    #expect(try bench.losses("parts") == bench.losses("whole"))
  }

  @Test(arguments: ["txl", "txl-mi"], [2, 3])
  func lossesDoNotDependOnTheNumberOfRanks(variant: String, rankCount: Int) throws {
    let bench = try TrainingBench()
    let configuration = try bench.configuration(
      settings: Self.settings(variant) + ["exchange.codec=none"])
    try bench.train(configuration, output: "one")
    try bench.train(configuration, output: "several", rankCount: rankCount, ranksPerNode: rankCount - 1)
    let several = try bench.losses("several")
    for (step, loss) in try bench.losses("one") {
      let other = try #require(several[step])
      #expect(abs(other - loss) <= 1e-4 * loss, "step \(step)")
    }
  }

  /// Another number of ranks gets the memory of its own lanes.
  @Test func aResumeOnAnotherNumberOfRanksContinuesTheMemory() throws {
    let bench = try TrainingBench()
    let configuration = try bench.configuration(
      settings: Self.settings("txl") + ["exchange.codec=none"])
    try bench.train(configuration, output: "whole", rankCount: 2)
    try bench.train(configuration, output: "parts", rankCount: 2, lastStep: 8)
    try bench.train(configuration, output: "parts", rankCount: 3, resume: .auto)
    let parts = try bench.losses("parts")
    for (step, loss) in try bench.losses("whole") {
      let resumed = try #require(parts[step])
      #expect(abs(resumed - loss) <= 1e-4 * loss, "step \(step)")
    }
  }

  @Test(arguments: [
    ("model.width=9", "model.width: expected an even number, a multiple of model.heads (2), found 9"),
    ("model.heads=3", "model.width: expected an even number, a multiple of model.heads (3), found 8"),
  ])
  func aWidthThatTheHeadsDoNotDivideIsRefused(setting: String, reason: String) throws {
    let bench = try TrainingBench(tokenCount: 700)
    #expect(throws: (any Error).self) {
      try bench.configuration(settings: Self.settings("txl") + [setting])
    }
    do {
      _ = try bench.configuration(settings: Self.settings("txl") + [setting])
    } catch {
      #expect("\(error)".contains(reason))
    }
  }
}
