import Checkpoints
import Communication
import LanguageModel
import Platform
import Synchronization
import TestSupport
import Testing
import Training

/// Training with a vocabulary sharded over groups of ranks has the results of training with a replicated one.
@Suite struct VocabularyGroupTests {
  /// Tokens enough for five blocks, so that both shards of a group have rows.
  private func bench() throws -> TrainingBench { try TrainingBench(wordCount: 2500) }

  /// Four training ranks in groups of two; a dedicated coordinator is a fifth.
  private static func rankCount(_ placement: String) -> Int { placement == "worker" ? 4 : 5 }

  @Test(arguments: ["lstm", "multencdec"], ["worker", "dedicated"])
  func groupsHaveTheLossesAndParametersOfOneRank(variant: String, placement: String) throws {
    let bench = try bench()
    let best = try bench.train(
      try bench.configuration("model.variant=\(variant)", "exchange.codec=none"), output: "whole"
    ).bestPerplexity
    // Replicas and shards are compared after every step.
    let grouped = try bench.configuration(
      "model.variant=\(variant)", "exchange.vocabulary=2", "exchange.codec=none",
      "coordinator.placement=\(placement)")
    let outcome = try bench.train(grouped, output: "groups", rankCount: Self.rankCount(placement))
    let (found, expected) = try (bench.losses("groups"), bench.losses("whole"))
    #expect(found.count == expected.count)
    for (step, loss) in expected {
      #expect(abs(try #require(found[step]) - loss) <= 1e-5 * loss, "step \(step)")
    }
    let perplexities = try (#require(outcome.bestPerplexity), #require(best))
    #expect(abs(perplexities.0 - perplexities.1) <= 1e-4 * perplexities.1)
    // What is written is the whole matrix, assembled from the first group.
    let files = try (bench.checkpoint("groups").tensors(.model), bench.checkpoint("whole").tensors(.model))
    for name in files.1.names {
      let values = try files.1.withFloats(of: name) { Array($0) }
      let largest = try files.0.withFloats(of: name) {
        zip($0, values).reduce(0) { max($0, abs($1.0 - $1.1)) }
      }
      #expect(largest <= 2e-3, "\(name)")
    }
  }

  @Test func segmentsAccumulatedInGroupsGiveTheGradientOfThemAll() throws {
    let bench = try bench()
    let settings = ["training.accumulate=2", "training.steps=6", "exchange.codec=none"]
    try bench.train(try bench.configuration(settings: settings), output: "whole")
    let grouped = try bench.configuration(settings: settings + ["exchange.vocabulary=2"])
    try bench.train(grouped, output: "groups", rankCount: 4)
    for (step, loss) in try bench.losses("whole") {
      #expect(abs(try #require(try bench.losses("groups")[step]) - loss) <= 1e-5 * loss, "step \(step)")
    }
  }

  @Test(arguments: ["worker", "dedicated"]) func runsInGroupsRepeatBitForBit(placement: String) throws {
    let bench = try bench()
    let grouped = try bench.configuration(
      "exchange.vocabulary=2", "exchange.codec=int8", "coordinator.placement=\(placement)")
    for output in ["one", "two"] {
      try bench.train(grouped, output: output, rankCount: Self.rankCount(placement))
    }
    #expect(try bench.digests("one") == bench.digests("two"))
    #expect(try bench.losses("one") == bench.losses("two"))
  }

  /// At step 7 there are residuals, those of shards among them.
  @Test(arguments: ["worker", "dedicated"], [7, 10])
  func aResumedRunInGroupsEqualsTheUninterruptedOneBitForBit(placement: String, lastStep: Int) throws {
    let bench = try bench()
    let rankCount = Self.rankCount(placement)
    let grouped = try bench.configuration(
      "exchange.vocabulary=2", "exchange.codec=int8", "coordinator.placement=\(placement)")
    try bench.train(grouped, output: "whole", rankCount: rankCount)
    try bench.train(grouped, output: "parts", rankCount: rankCount, lastStep: lastStep)
    if lastStep == 7 {
      let names = try bench.checkpoint("parts").tensors(.exchange).names
      #expect(
        names.count { $0.hasPrefix("shard.") } == 2 * 3,
        "two groups' residuals and the owners', of two shards")
    }
    try bench.train(grouped, output: "parts", rankCount: rankCount, resume: .auto)
    #expect(try bench.digests("parts") == bench.digests("whole"))
    #expect(try bench.losses("parts") == bench.losses("whole"))
  }

  /// int8 with residuals at step 7: the other placement continues close to the run that stays.
  ///
  /// Two ranks are one group, which has no exchange for the residuals of shards.
  @Test(arguments: [(4, 8), (4, 2), (2, 4)]) func aRunMayContinueWithOtherGroups(ranks: (Int, Int)) throws {
    let bench = try bench()
    let settings = ["training.lanes=16", "exchange.codec=int8", "exchange.vocabulary=2"]
    let grouped = try bench.configuration(settings: settings)
    try bench.train(grouped, output: "whole", rankCount: ranks.0)
    try bench.train(grouped, output: "parts", rankCount: ranks.0, lastStep: 7)
    let log = LogLines()
    try bench.train(grouped, output: "parts", rankCount: ranks.1, resume: .auto, log: log)
    #expect(log.contains("residuals of the vocabulary's shards are discarded") == (ranks == (4, 2)))
    let (found, expected) = try (bench.losses("parts"), bench.losses("whole"))
    #expect(found.count == expected.count)
    for (step, loss) in expected {
      #expect(abs(try #require(found[step]) - loss) <= 2e-2 * loss, "step \(step)")
    }
  }

  @Test func aGroupSizeThatDoesNotDivideTheRanksIsRefused() throws {
    let bench = try bench()
    let grouped = try bench.configuration("exchange.vocabulary=3")
    #expect(
      throws: MilmError("exchange.vocabulary: expected a divisor of the 4 training ranks, found 3")
    ) {
      try bench.train(grouped, output: "run", rankCount: 4)
    }
  }

  @Test func theCheckpointTellsTheGroupSize() throws {
    let bench = try bench()
    try bench.train(
      try bench.configuration("exchange.vocabulary=2"), output: "two", rankCount: 4, lastStep: 5)
    #expect(try bench.checkpoint("two").state.vocabularyGroupSize == 2)
    try bench.train(try bench.configuration(), output: "auto", rankCount: 2, lastStep: 5)
    #expect(try bench.checkpoint("auto").state.vocabularyGroupSize == 1)
  }

  /// `auto` keeps the placement in the checkpoint.
  @Test func autoContinuesARunWithItsPlacement() throws {
    let bench = try bench()
    let grouped = try bench.configuration("exchange.vocabulary=2", "exchange.codec=int8")
    try bench.train(grouped, output: "parts", rankCount: 4, lastStep: 7)
    let automatic = try bench.configuration("exchange.codec=int8")
    try bench.train(automatic, output: "parts", rankCount: 4, resume: .auto)
    try bench.train(grouped, output: "whole", rankCount: 4)
    #expect(try bench.checkpoint("parts").state.vocabularyGroupSize == 2)
    #expect(try bench.losses("parts") == bench.losses("whole"))
  }

  /// Rank 0 decides, once in the life of a run; what the other ranks would choose does not count.
  @Test(arguments: ["worker", "dedicated"]) func aDecisionForAutoHoldsForTheWholeRun(placement: String) throws
  {
    let bench = try bench()
    let rankCount = Self.rankCount(placement)
    let settings = ["exchange.codec=int8", "coordinator.placement=\(placement)"]
    let automatic = try bench.configuration(settings: settings)
    let (first, second) = (FakeDecision(2, elsewhere: 4), FakeDecision(1))
    let log = LogLines()
    try bench.train(
      automatic, output: "parts", rankCount: rankCount, lastStep: 7, log: log, vocabularyDecision: first)
    #expect(first.callCount == rankCount)
    #expect(log.contains("vocabulary sharded in groups of 2 of 4 ranks (auto: a fake)"), "\(log.all)")
    #expect(try bench.checkpoint("parts").state.vocabularyGroupSize == 2)
    #expect(try bench.checkpoint("parts").tensors(.exchange).names.contains { $0.hasPrefix("shard.") })
    try bench.train(
      automatic, output: "parts", rankCount: rankCount, resume: .auto, vocabularyDecision: second)
    #expect(second.callCount == 0)
    #expect(try bench.checkpoint("parts").state.vocabularyGroupSize == 2)
    let grouped = try bench.configuration(settings: settings + ["exchange.vocabulary=2"])
    try bench.train(grouped, output: "configured", rankCount: rankCount)
    try bench.train(automatic, output: "whole", rankCount: rankCount, vocabularyDecision: FakeDecision(2))
    #expect(try bench.losses("parts") == bench.losses("configured"))
    #expect(try bench.digests("parts") == bench.digests("whole"))
  }

  @Test(arguments: [("replicated", 4), ("sharded", 4), ("2", 4), ("auto", 1)])
  func nothingIsDecidedWhereThereIsNoChoice(vocabulary: String, rankCount: Int) throws {
    let bench = try bench()
    let decision = FakeDecision(4)
    try bench.train(
      try bench.configuration("exchange.vocabulary=\(vocabulary)"), output: "run", rankCount: rankCount,
      lastStep: 1, vocabularyDecision: decision)
    #expect(decision.callCount == 0)
  }

  @Test func aDecisionThatDoesNotDivideTheRanksIsRefused() throws {
    let bench = try bench()
    #expect(
      throws: MilmError(
        "size of the vocabulary's groups: expected a divisor of the 4 training ranks, found 3")
    ) {
      try bench.train(
        try bench.configuration(), output: "run", rankCount: 4, vocabularyDecision: FakeDecision(3))
    }
  }

  /// The cost model asks the placement how often ranks wait for each other: here the wire is asked too.
  @Test(arguments: ["2", "sharded", "replicated"], [1, 2])
  func thePlacementStatesTheExchangesOfAStep(vocabulary: String, accumulation: Int) throws {
    let bench = try bench()
    let configuration = try bench.configuration(
      "exchange.vocabulary=\(vocabulary)", "training.accumulate=\(accumulation)", "training.steps=3")
    let count = Atomic(0)
    let rankCount = 4
    try bench.train(
      configuration, output: "run", rankCount: rankCount,
      link: { base in
        HookedCommunicator(base) { operation in
          if operation.phase == .shards, operation.step == 2 { count.add(1, ordering: .relaxed) }
        }
      })
    let layout = try VocabularyLayout(configuration.exchange.vocabulary, trainingRanks: 0..<rankCount)
    let traffic = layout.traffic(
      LanguageModel(configuration.model, vocabularySize: 2500),
      rowCount: configuration.training.lanes / rankCount * configuration.training.segment,
      accumulation: accumulation, distinctTokenCount: 10)
    #expect(count.load(ordering: .relaxed) == rankCount * traffic.roundCount)
  }

  @Test func groupsAreOfConsecutiveTrainingRanks() throws {
    let layout = try VocabularyLayout(.groups(of: 2), trainingRanks: 1..<7)
    #expect(layout.groupCount == 3)
    #expect((0..<7).map { layout.group(of: $0) } == [nil, 0, 0, 1, 1, 2, 2])
    #expect(layout.owners(ofShard: 1) == [2, 4, 6])
    #expect(try !VocabularyLayout(.auto, trainingRanks: 0..<4).isSharded)
    #expect(try VocabularyLayout(.auto, frozen: 2, trainingRanks: 0..<4).groupSize == 2)
    #expect(try VocabularyLayout(.auto, frozen: 3, trainingRanks: 0..<4).groupSize == 1)
    #expect(try VocabularyLayout(.sharded, trainingRanks: 0..<4).groupSize == 4)
  }
}

/// Chooses a size on rank 0 and another one elsewhere, and counts how often it is asked.
private final class FakeDecision: VocabularyDecision {
  private let onCoordinator: Int
  private let elsewhere: Int
  private let count = Atomic(0)

  init(_ onCoordinator: Int, elsewhere: Int? = nil) {
    self.onCoordinator = onCoordinator
    self.elsewhere = elsewhere ?? onCoordinator
  }

  var callCount: Int { count.load(ordering: .relaxed) }

  func decide(
    _ configuration: RunConfiguration, corpus: String, vocabularySize: Int, ranks: Ranks
  ) throws -> VocabularyChoice {
    count.add(1, ordering: .relaxed)
    return VocabularyChoice(
      groupSize: ranks.isCoordinator ? onCoordinator : elsewhere, reason: "auto: a fake")
  }
}
