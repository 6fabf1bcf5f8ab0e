import Checkpoints
import Communication
import Foundation
import Platform
import TestSupport
import Testing
import Training

/// A coordinator without lanes gives the results of one with lanes.
@Suite struct DedicatedTests {
  @Test(arguments: [2, 3, 4])
  func lossesAreThoseOfOneRank(rankCount: Int) throws {
    let bench = try TrainingBench()
    try bench.train(try bench.configuration(), output: "alone")
    let dedicated = try bench.configuration("coordinator.placement=dedicated")
    let outcome = try bench.train(dedicated, output: "run", rankCount: rankCount)
    let alone = try bench.losses("alone")
    #expect(try bench.losses("run").count == 20)
    for (step, loss) in try bench.losses("run") {
      let expected = try #require(alone[step])
      #expect(abs(loss - expected) <= 1e-5 * expected, "step \(step) on \(rankCount) ranks")
    }
    #expect(outcome.bestStep != nil)
    #expect(try bench.evaluatedSteps("run") == bench.evaluatedSteps("alone"))
  }

  /// `hashEvery` is 1, so that a coordinator that differs in a bit ends the run.
  @Test(arguments: Codec.allCases)
  func aResumedRunEqualsTheUninterruptedOneBitForBit(codec: Codec) throws {
    let bench = try TrainingBench()
    let configuration = try bench.configuration(
      "coordinator.placement=dedicated", "exchange.codec=\(codec.rawValue)")
    try bench.train(configuration, output: "whole", rankCount: 3)
    try bench.train(configuration, output: "parts", rankCount: 3, lastStep: 7)
    try bench.train(configuration, output: "parts", rankCount: 3, resume: .auto)
    #expect(try bench.digests("parts") == bench.digests("whole"))
  }

  /// With int8 there are residuals at step 6, which rank 0 keeps when it no longer has lanes.
  @Test(arguments: [(Codec.uncompressed, 1e-4), (Codec.int8, 1e-2)])
  func aRunResumesWithTheOtherPlacement(codec: Codec, tolerance: Double) throws {
    let bench = try TrainingBench()
    let worker = try bench.configuration("exchange.codec=\(codec.rawValue)")
    let dedicated = try bench.configuration(
      "exchange.codec=\(codec.rawValue)", "coordinator.placement=dedicated")
    try bench.train(worker, output: "whole", rankCount: 3)
    try bench.train(worker, output: "parts", rankCount: 3, lastStep: 6)
    let log = LogLines()
    try bench.train(dedicated, output: "parts", rankCount: 3, resume: .auto, lastStep: 12, log: log)
    #expect(log.contains("continues, not bit-equal: training ranks 3 → 2"))
    try bench.train(worker, output: "parts", rankCount: 1, resume: .auto)
    for (step, loss) in try bench.losses("whole") {
      let resumed = try #require(try bench.losses("parts")[step])
      #expect(abs(resumed - loss) <= tolerance * loss, "step \(step)")
    }
  }

  @Test(arguments: [
    (1, "expected at least 2 ranks for a dedicated coordinator, found 1"),
    (6, "training.lanes: expected a multiple of the 5 training ranks, found 12"),
  ])
  func ranksThatDoNotDivideTheLanesAreRefused(rankCount: Int, expected: String) throws {
    let bench = try TrainingBench()
    let dedicated = try bench.configuration("coordinator.placement=dedicated")
    let error = #expect(throws: MilmError.self) {
      try bench.train(dedicated, output: "run", rankCount: rankCount)
    }
    #expect(error?.description.hasSuffix(expected) == true, "\(String(describing: error))")
  }
}
