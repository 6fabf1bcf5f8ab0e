import Communication
import Platform
import Testing
import Training

/// Results that do not depend on the number of ranks, and runs that repeat.
@Suite struct RankEquivalenceTests {
  @Test(arguments: ["lstm", "multdec", "multencdec"])
  func lossesDoNotDependOnTheNumberOfRanks(variant: String) throws {
    let bench = try TrainingBench()
    let configuration = try bench.configuration("model.variant=\(variant)")
    for rankCount in 1...4 {
      try bench.train(configuration, output: "run-\(rankCount)", rankCount: rankCount)
    }
    let alone = try bench.losses("run-1")
    #expect(alone.count == 20)
    for rankCount in 2...4 {
      for (step, loss) in try bench.losses("run-\(rankCount)") {
        let expected = try #require(alone[step])
        #expect(abs(loss - expected) <= 1e-5 * expected, "step \(step) on \(rankCount) ranks")
      }
    }
  }

  /// `hashEvery` is 1, so replicas that differ in a bit end the run.
  @Test(arguments: Codec.allCases, [1, 2, 3])
  func replicasStayEqualAndRunsRepeatBitForBit(codec: Codec, rankCount: Int) throws {
    let bench = try TrainingBench()
    let configuration = try bench.configuration("exchange.codec=\(codec.rawValue)")
    for output in ["one", "two"] { try bench.train(configuration, output: output, rankCount: rankCount) }
    #expect(try bench.digests("one") == bench.digests("two"))
    #expect(try bench.losses("one") == bench.losses("two"))
  }

  /// Two nodes of two ranks, one of three and one of one, and a single node.
  @Test(arguments: [(4, 2), (4, 3), (3, 3)]) func nodesHaveTheLossesOfOneRank(
    rankCount: Int, ranksPerNode: Int
  )
    throws
  {
    let bench = try TrainingBench()
    let configuration = try bench.configuration("exchange.codec=lossless")
    try bench.train(configuration, output: "alone")
    try bench.train(configuration, output: "nodes", rankCount: rankCount, ranksPerNode: ranksPerNode)
    let alone = try bench.losses("alone")
    for (step, loss) in try bench.losses("nodes") {
      let expected = try #require(alone[step])
      #expect(abs(loss - expected) <= 1e-5 * expected, "step \(step)")
    }
  }

  @Test func accumulatedSegmentsGiveTheGradientOfAllOfThem() throws {
    let bench = try TrainingBench()
    let accumulated = try bench.configuration("training.accumulate=2", "training.steps=4")
    try bench.train(accumulated, output: "one", rankCount: 1)
    try bench.train(accumulated, output: "three", rankCount: 3)
    for (step, loss) in try bench.losses("one") {
      #expect(abs(loss - (try #require(try bench.losses("three")[step]))) <= 1e-5 * loss)
    }
    #expect(try bench.checkpoint("one").state.segmentIndex == 8)
  }

  @Test(arguments: Codec.allCases)
  func everyCodecLearns(codec: Codec) throws {
    let bench = try TrainingBench()
    let configuration = try bench.configuration(
      "exchange.codec=\(codec.rawValue)", "training.steps=120", "coordinator.evaluateEvery=40")
    let outcome = try bench.train(configuration, output: "run", rankCount: 2)
    // 42 tokens; the perplexity of the chain itself is about 4.
    #expect(try #require(outcome.bestPerplexity) < 20)
  }

  @Test func ranksThatDoNotDivideTheLanesAreRefused() throws {
    let bench = try TrainingBench()
    #expect(throws: MilmError("training.lanes: expected a multiple of the 5 ranks, found 12")) {
      try bench.train(try bench.configuration(), output: "run", rankCount: 5)
    }
  }
}
