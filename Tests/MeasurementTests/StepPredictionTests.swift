import Communication
import Measurement
import Testing

/// The cost model against sums that can be done by hand.
struct StepPredictionTests {
  private let link = LinkMeasurement(latencySeconds: 0, bytesPerSecond: 100e6)

  private func costs(
    _ codecs: [(Codec, byteCount: Double, encode: Double)], readyAt share: Double = 1, rows: Double = 0
  ) -> StepCosts {
    StepCosts(
      computeSeconds: 1, updateSeconds: 0.1, ready: [(0, share)],
      codecs: codecs.map {
        CodecMeasurement(
          codec: $0.0,
          costs: [CodingCost(encodeSeconds: $0.encode, decodeSeconds: 0, byteCount: $0.byteCount)],
          elementCounts: [10_000_000])
      }, rowElementCount: rows, tokenCount: 1000)
  }

  private func cluster(_ ranks: Int, perNode: Int = 1, spare: Bool = true) -> Cluster {
    Cluster(
      rankCount: ranks, ranksPerNode: perNode, link: link, hasSpareCore: spare, bucketByteCount: 16_000_000)
  }

  @Test func oneRankExchangesNothing() {
    let step = costs([(.none, 4, 0)]).prediction(on: cluster(1))
    #expect(step.secondsPerStep == 1.1 && step.bytesPerStep == 0 && step.efficiency == 1)
    #expect(abs(step.tokensPerSecond - 1000 / 1.1) < 1e-9)
  }

  @Test(arguments: [2, 4, 8])
  func aRankSendsTwiceItsShareOfTheOthersGradient(ranks: Int) {
    let step = costs([(.none, 4, 0)]).prediction(on: cluster(ranks))
    let bytes = 2 * Double(ranks - 1) / Double(ranks) * 40e6
    #expect(abs(Double(step.bytesPerStep) - bytes) < 1)
    #expect(abs(step.exchangeSeconds - bytes / 100e6) < 0.01)
    #expect(abs(step.ratio - 1) < 1e-6)
  }

  @Test func whatIsReadyEarlyHidesUnderTheComputing() {
    let late = costs([(.none, 4, 0)]).prediction(on: cluster(2))
    let early = costs([(.none, 4, 0)], readyAt: 0.5).prediction(on: cluster(2))
    #expect(abs(late.exchangeSeconds - 0.4) < 0.01)
    #expect(early.exchangeSeconds < 0.01)
  }

  @Test func codingOnABusyCoreLengthensTheStepEvenWhereItHides() {
    let costs = costs([(.int8, 1, 5e-9)], readyAt: 0.1)
    let (spare, busy) = (costs.prediction(on: cluster(2)), costs.prediction(on: cluster(2, spare: false)))
    // 10 million elements, each encoded once on either hop, half of them here.
    #expect(spare.exchangeSeconds < 0.01)
    #expect(abs(busy.exchangeSeconds - 0.05) < 0.01)
  }

  @Test func theQuickestCodecIsTakenAndOfEqualsTheMostExact() {
    let slow = costs([(.none, 4, 0), (.int8, 0.3, 1e-9)])
    #expect(slow.prediction(on: cluster(2)).codec == "int8")
    let hidden = costs([(.none, 4, 0), (.int8, 0.3, 1e-9)], readyAt: 0.1)
    #expect(hidden.prediction(on: cluster(2)).codec == "none")
  }

  @Test func ranksOfANodeSendNoMoreThanOne() {
    let costs = costs([(.none, 4, 0)])
    let (two, four) = (costs.prediction(on: cluster(2)), costs.prediction(on: cluster(4, perNode: 2)))
    #expect(four.nodes == 2)
    #expect(abs(Double(2 * four.bytesPerStep - two.bytesPerStep)) < 4)
  }

  @Test func rowsGoToEveryOtherNode() {
    let costs = costs([(.none, 4, 0)], rows: 1e6)
    let without = self.costs([(.none, 4, 0)])
    for ranks in [2, 8] {
      let more =
        costs.prediction(on: cluster(ranks)).bytesPerStep
        - without.prediction(on: cluster(ranks)).bytesPerStep
      #expect(abs(Double(more) - 3.4e6 * Double(ranks - 1)) < 4)
    }
  }

  @Test func efficiencyFallsWithTheNumberOfRanks() {
    let costs = costs([(.int8, 0.3, 1e-9)], rows: 1e5)
    let shares = (0...10).map { costs.prediction(on: cluster(1 << $0)).efficiency }
    #expect(zip(shares, shares.dropFirst()).allSatisfy { $0 >= $1 })
  }

  /// 100 rows of 50 numbers there and back, and 32 bytes for each; a million bytes a second.
  @Test(arguments: [(2, 1), (4, 1), (4, 2)]) func aSharedVocabularySparesItsUpdateAndSendsRows(
    ranks: Int, perNode: Int
  ) {
    var costs = costs([(.none, 0, 0)], rows: 80)
    costs.sharing = SharingCosts(rowCount: 100, width: 50, operationCount: 6, updateSeconds: 0.06)
    let link = LinkMeasurement(latencySeconds: 0.01, bytesPerSecond: 1e6)
    let step = costs.prediction(
      on: Cluster(
        rankCount: ranks, ranksPerNode: perNode, link: link, hasSpareCore: true, bucketByteCount: 1 << 30))
    let bytes = Double(8 * 100 * 50 + 32 * 100) + 8 * 80 / Double(ranks)
    let spared = 0.06 * (1 - 1 / Double(ranks))
    #expect(abs(step.computeSeconds - (1.1 - spared)) < 1e-9)
    #expect(abs(Double(step.bytesPerStep) - Double(ranks - 1) * bytes) < 1)
    #expect(abs(step.exchangeSeconds - (6 * 0.01 + Double(ranks - perNode) * bytes / 1e6)) < 0.05)
  }
}
