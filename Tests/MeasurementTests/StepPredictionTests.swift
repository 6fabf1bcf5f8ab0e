import Communication
import LanguageModel
import Measurement
import Tensors
import Testing
import Training

/// The cost model against sums that can be done by hand.
struct StepPredictionTests {
  private let link = LinkMeasurement(latencySeconds: 0, bytesPerSecond: 100e6)

  private static let elementCount = 10_240_000

  /// A tied matrix of as many elements.
  private static let model = {
    var configuration = ModelConfiguration()
    configuration.variant = .lstm
    configuration.embedding = 1000
    configuration.hidden = 8
    return LanguageModel(configuration, vocabularySize: elementCount / 1000)
  }()

  /// One range, which may be the tied matrix of rows of 1,000 elements.
  private func costs(
    _ codecs: [(Codec, byteCount: Double, encode: Double)], readyAt fraction: Double = 1, rows: Double = 0,
    bucketByteCount: Int = 16_000_000
  ) -> StepCosts {
    StepCosts(
      computeSeconds: 1, updateSeconds: 0.1,
      exchange: ExchangeModel(
        ranges: [ExchangeRange(range: 0..<Self.elementCount, blockLength: 256, name: "tied matrix")],
        rows: SparseRows(
          offset: 0, width: 1000, rowCount: Self.elementCount / 1000, maximumRowCount: 10_000),
        bucketByteCount: bucketByteCount, layout: NodeLayout(nodeOfRank: [0])),
      ready: [(0, fraction)], tiedRanges: [0],
      codecs: codecs.map {
        CodecMeasurement(
          codec: $0.0,
          costs: [CodingCost(encodeSeconds: $0.encode, decodeSeconds: 0, byteCount: $0.byteCount)],
          elementCounts: [Self.elementCount])
      }, rowElementCount: rows, tokenCount: 1000,
      sharding: ShardingCosts(model: Self.model, rowCount: 100, accumulation: 1, updateSeconds: 0.001))
  }

  private func cluster(
    _ ranks: Int, perNode: Int = 1, spare: Bool = true, link: LinkMeasurement? = nil
  ) -> Cluster {
    Cluster(rankCount: ranks, ranksPerNode: perNode, link: link ?? self.link, hasSpareCore: spare)
  }

  @Test func oneRankExchangesNothing() {
    let step = costs([(.uncompressed, 4, 0)]).prediction(on: cluster(1))
    #expect(step.secondsPerStep == 1.1 && step.bytesPerStep == 0 && step.efficiency == 1)
    #expect(abs(step.tokensPerSecond - 1000 / 1.1) < 1e-9)
  }

  @Test(arguments: [2, 4, 8])
  func aRankSendsTwiceItsChunkToEachOtherRank(ranks: Int) {
    let step = costs([(.uncompressed, 4, 0)]).prediction(on: cluster(ranks))
    let bytes = 2 * Double(ranks - 1) / Double(ranks) * 4 * Double(Self.elementCount)
    #expect(abs(Double(step.bytesPerStep) - bytes) < 1e-3 * bytes)
    #expect(abs(step.exchangeSeconds - bytes / 100e6) < 0.01)
    #expect(abs(step.ratio - 1) < 1e-6)
  }

  @Test func gradientsThatAreReadyEarlyHideUnderTheCompute() {
    let late = costs([(.uncompressed, 4, 0)]).prediction(on: cluster(2))
    let early = costs([(.uncompressed, 4, 0)], readyAt: 0.5).prediction(on: cluster(2))
    #expect(abs(late.exchangeSeconds - 0.4) < 0.01)
    #expect(early.exchangeSeconds < 0.01)
  }

  @Test func codingOnABusyCoreLengthensTheStepEvenIfItIsHidden() {
    let costs = costs([(.int8, 1, 5e-9)], readyAt: 0.1)
    let (spare, busy) = (costs.prediction(on: cluster(2)), costs.prediction(on: cluster(2, spare: false)))
    // 10 million elements, each encoded once on either hop, half of them here.
    #expect(spare.exchangeSeconds < 0.01)
    #expect(abs(busy.exchangeSeconds - 0.05) < 0.01)
  }

  @Test func theFastestCodecIsChosenAndOfEqualsTheMostExact() {
    let slow = costs([(.uncompressed, 4, 0), (.int8, 0.3, 1e-9)])
    #expect(slow.prediction(on: cluster(2)).codec == "int8")
    let hidden = costs([(.uncompressed, 4, 0), (.int8, 0.3, 1e-9)], readyAt: 0.1)
    #expect(hidden.prediction(on: cluster(2)).codec == "none")
  }

  @Test func ranksOfANodeTogetherSendAsMuchAsOneRank() {
    let costs = costs([(.uncompressed, 4, 0)])
    let (two, four) = (costs.prediction(on: cluster(2)), costs.prediction(on: cluster(4, perNode: 2)))
    #expect(four.nodes == 2)
    #expect(abs(Double(2 * four.bytesPerStep - two.bytesPerStep)) < 1e-3 * Double(two.bytesPerStep))
  }

  @Test func rowsAreSentToEveryOtherNode() {
    let costs = costs([(.uncompressed, 4, 0)], rows: 1e6)
    let without = self.costs([(.uncompressed, 4, 0)])
    for ranks in [2, 8] {
      let more =
        costs.prediction(on: cluster(ranks)).bytesPerStep
        - without.prediction(on: cluster(ranks)).bytesPerStep
      // A row has 1,000 elements and its number.
      #expect(abs(Double(more) - 3.4e6 * 1.001 * Double(ranks - 1)) < 4)
    }
  }

  @Test func efficiencyFallsWithTheNumberOfRanks() {
    let costs = costs([(.int8, 0.3, 1e-9)], rows: 1e5)
    let efficiencies = (0...10).map { costs.prediction(on: cluster(1 << $0)).efficiency }
    #expect(zip(efficiencies, efficiencies.dropFirst()).allSatisfy { $0 >= $1 })
  }

  /// A hundred rows of z of 1,000 elements, there and back; a million bytes per second.
  @Test(arguments: [(2, 1), (4, 1), (4, 2)]) func aShardedVocabularyUpdatesItsShardAndSendsRows(
    ranks: Int, perNode: Int
  ) {
    var costs = costs([(.uncompressed, 4, 0)], readyAt: 0)
    costs.sharding.updateSeconds = 0.06
    let link = LinkMeasurement(latencySeconds: 0.01, bytesPerSecond: 1e6)
    let step = costs.prediction(on: cluster(ranks, perNode: perNode, link: link), groupSize: ranks)
    let bytes = Double(8 * 100 * 1000 * (ranks - 1))
    #expect(abs(step.computeSeconds - (1.1 - 0.06 * (1 - 1 / Double(ranks)))) < 1e-9)
    #expect(abs(Double(step.bytesPerStep) - bytes) < 0.03 * bytes)
    // Looked-up rows, z, two rounds of statistics, the gradient of z, and the gradients of the rows.
    let remote = bytes * Double(ranks - perNode) / Double(ranks - 1)
    #expect(abs(step.exchangeSeconds - (6 * 0.01 + remote / 1e6)) < 0.03 * step.exchangeSeconds)
  }

  private func shardable() -> StepCosts { costs([(.uncompressed, 4, 0)], rows: 1e5) }

  @Test func aSlowLinkShardsTheVocabularyAndAFastOneReplicatesIt() {
    let slow = LinkMeasurement(latencySeconds: 1e-4, bytesPerSecond: 1e7)
    let fast = LinkMeasurement(latencySeconds: 1e-2, bytesPerSecond: 1e12)
    let sharded = shardable().best(on: cluster(4, link: slow))
    #expect(sharded.vocabularyGroup > 1)
    #expect(sharded.secondsPerStep < shardable().prediction(on: cluster(4, link: slow)).secondsPerStep)
    #expect(shardable().best(on: cluster(4, link: fast)).vocabularyGroup == 1)
  }

  /// Hosts with room for the smallest need of groups of two, but not for a replicated vocabulary.
  @Test func planConsidersTheGroupsThatFitOnItsHosts() throws {
    let configuration = try RunConfiguration(
      yaml: """
        model: { variant: lstm, embedding: 64, hidden: 16 }
        training: { lanes: 8, segment: 4, precision: float32, threads: 1 }
        """, source: "the test", settings: [])
    let engine = ComputeEngine()
    func memory(_ available: Int?) throws -> PlannedMemory {
      try PlannedMemory(
        configuration, vocabularySize: 20_000, rankCount: 4, engine: engine,
        available: available.map { HostShare.Memory(byteCount: $0, rankCount: 2, owner: "this host") })
    }
    // Weak scaling: of eight ranks each has as many lanes as of four.
    for ranks in [4, 8] {
      let cluster = self.cluster(ranks)
      func need(_ groupSize: Int) throws -> Int {
        try memory(nil).need(ofRank: 0, groupSize: groupSize, on: cluster).byteCount
      }
      let needs = try [1, 2, 4].map(need)
      #expect(needs[1] < needs[0], "\(needs)")
      let tight = try memory(2 * needs[1])
      #expect([1, 2].map { tight.fits(groupSize: $0, on: cluster) } == [false, true])
      #expect([1, 2, 4].allSatisfy { (try? memory(nil).fits(groupSize: $0, on: cluster)) == true })
    }
  }

  @Test func groupsThatDoNotFitInMemoryAreNotChosen() {
    let fast = LinkMeasurement(latencySeconds: 1e-2, bytesPerSecond: 1e12)
    #expect(shardable().best(on: cluster(6, link: fast), fits: { $0 >= 3 }).vocabularyGroup == 3)
    #expect(shardable().best(on: cluster(6, link: fast), fits: { _ in false }).vocabularyGroup == 6)
  }

  /// A shard's gradient is complete only once the looked-up rows have been added to it, after both passes.
  @Test func theExchangeOfShardsHidesUnderNoCompute() {
    let fast = LinkMeasurement(latencySeconds: 0, bytesPerSecond: 100e6)
    let steps = [0.1, 1].map { fraction in
      var costs = costs([(.uncompressed, 4, 0)], readyAt: fraction)
      costs.sharding.rowCount = 1
      return costs.prediction(on: cluster(4, link: fast), groupSize: 2)
    }
    #expect(steps[0].exchangeSeconds == steps[1].exchangeSeconds)
    // Two owners send half of half of the matrix to each other, and half of the means.
    #expect(abs(steps[0].exchangeSeconds - 4 * Double(Self.elementCount) / 2 / 100e6) < 0.01)
  }

  /// The owners of a shard, one in each group, all-reduce its gradient.
  @Test func betweenGroupsAShardIsAllReducedByItsOwners() {
    let four = cluster(4)
    let bytes = [1, 2, 4].map { shardable().prediction(on: four, groupSize: $0).bytesPerStep }
    #expect(VocabularyLayout.groupSizes(of: 4) == [1, 2, 4])
    let rows = [2, 4].map { size in
      let vocabulary = VocabularyLayout(groupSize: size, trainingRanks: 0..<4)
      return Int(shardable().sharding.traffic(vocabulary, rowElementCount: 1e5).byteCount)
    }
    for (index, size) in [2, 4].enumerated() {
      let groups = 4 / size
      let allReduce =
        2 * Double(groups - 1) / Double(groups) * 4 * Double(Self.elementCount) / Double(size)
      #expect(abs(Double(bytes[index + 1] - rows[index]) - allReduce) < 1e-3 * allReduce + 4)
    }
  }
}
