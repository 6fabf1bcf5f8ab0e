import Communication
import Testing
import Training

@Suite struct CodecChoiceTests {
  @Test func whatWasChosenStaysInAResumedRun() throws {
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

  @Test func otherRanksChooseAgainAndOneRankNeedsNoCodec() throws {
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
}
