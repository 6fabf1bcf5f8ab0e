import Communication
import Testing
import Training

@Suite struct CodecTunerTests {
  @Test func aResumedRunKeepsItsCodec() throws {
    let bench = try TrainingBench()
    let log = LogLines()
    let configuration = try bench.configuration("exchange.codec=auto")
    try bench.train(configuration, output: "run", rankCount: 2, lastStep: 8, log: log)
    let decisions = try bench.checkpoint("run").state.codecDecisions
    #expect(decisions.count == 1 && decisions[0].step == 2, "\(decisions)")
    for codec in Codec.allCases { #expect(log.contains("\(codec.rawValue) "), "a line of the table") }
    try bench.train(configuration, output: "run", rankCount: 2, resume: .auto)
    #expect(try bench.checkpoint("run").state.codecDecisions == decisions)
  }

  @Test func anotherNumberOfRanksChoosesAgainAndOneRankNeedsNoCodec() throws {
    let bench = try TrainingBench()
    let configuration = try bench.configuration("exchange.codec=auto")
    try bench.train(configuration, output: "run", rankCount: 1, lastStep: 5)
    #expect(try bench.checkpoint("run").state.codecDecisions.map(\.codec) == ["none"])
    try bench.train(configuration, output: "run", rankCount: 3, resume: .auto, lastStep: 12)
    #expect(try bench.checkpoint("run").state.codecDecisions.map(\.step) == [0, 7])
  }

  @Test func withoutLossOnlyExactCodecsAreMeasured() throws {
    let bench = try TrainingBench()
    let log = LogLines()
    let configuration = try bench.configuration("exchange.codec=auto", "exchange.allowLoss=false")
    try bench.train(configuration, output: "run", rankCount: 2, lastStep: 4, log: log)
    let chosen = try #require(try bench.checkpoint("run").state.codecDecisions.last)
    #expect(Codec(rawValue: chosen.codec)?.isExact == true)
    #expect(!log.contains("int8 "))
  }

  /// The link becomes slower after the choice: 10 ms per exchange, of which a step has nine.
  private func trainOnALinkThatSlows(_ bench: TrainingBench, retunes: Bool) throws -> LogLines {
    let log = LogLines()
    let configuration = try bench.configuration(
      "exchange.codec=auto", "exchange.retune=\(retunes)", "training.steps=46",
      "coordinator.evaluateEvery=0", "coordinator.checkpointEvery=1000")
    try bench.train(configuration, output: "run", rankCount: 2, log: log) {
      slowed($0, fromStep: 6, delaySeconds: 0.01)
    }
    return log
  }

  @Test func anExchangeMuchSlowerThanPredictedIsReportedOnce() throws {
    let bench = try TrainingBench()
    let log = try trainOnALinkThatSlows(bench, retunes: false)
    let warnings = log.all.filter { $0.contains("were predicted") }
    #expect(warnings.count == 1, "\(log.all)")
    #expect(warnings.first?.contains("exchange.retune would choose again") == true)
    #expect(try bench.checkpoint("run").state.codecDecisions.count == 1)
  }

  @Test func withRetuneTheCodecIsChosenAgainAndTheStepRecorded() throws {
    let bench = try TrainingBench()
    let log = try trainOnALinkThatSlows(bench, retunes: true)
    #expect(log.all.count { $0.contains("choosing again") } == 1, "\(log.all)")
    let decisions = try bench.checkpoint("run").state.codecDecisions
    try #require(decisions.count == 2)
    // 20 steps after the first choice; the request travels with the step after them.
    #expect(decisions.map(\.step) == [2, 23], "\(decisions)")
    #expect(decisions[1].reason.hasPrefix("auto, chosen again"))
    #expect(log.contains("codec \(decisions[1].codec) from step 23 on"))
  }
}
