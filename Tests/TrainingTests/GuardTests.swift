import Checkpoints
import Foundation
import Platform
import TestSupport
import Testing
import Training

/// Steps that would harm the model, and runs that go wrong.
@Suite struct GuardTests {
  @Test func aHealthyRunIsNotChanged() throws {
    let bench = try TrainingBench()
    let configuration = try bench.configuration("training.steps=300", "guard.window=20")
    let free = try bench.configuration(
      "training.steps=300", "guard.window=0", "guard.outlier=0", "guard.divergence=0")
    try bench.train(configuration, output: "guarded", rankCount: 2)
    try bench.train(free, output: "free", rankCount: 2)
    // The file of the model contains the configuration.
    #expect(try bench.digests("guarded").dropFirst() == bench.digests("free").dropFirst())
    #expect(try bench.losses("guarded") == bench.losses("free"))
    #expect(try bench.checkpoint("guarded").state.skippedStepCount == 0)
  }

  /// A window of two steps and a thousandth of a deviation: every step above the mean is an outlier.
  @Test(arguments: [1, 3])
  func anOutlyingStepIsSkippedByAllRanksAndCounted(rankCount: Int) throws {
    let bench = try TrainingBench()
    let configuration = try bench.configuration(
      "training.steps=30", "guard.window=2", "guard.outlier=0.001", "guard.divergence=0")
    let log = LogLines()
    try bench.train(configuration, output: "run", rankCount: rankCount, log: log)
    let state = try bench.checkpoint("run").state
    #expect(state.skippedStepCount > 0)
    #expect(log.all.count { $0.contains("a step was skipped") } == state.skippedStepCount)
    #expect(log.contains("an outlying"))
  }

  @Test func theGuardsWindowSurvivesAResume() throws {
    let bench = try TrainingBench()
    let configuration = try bench.configuration(
      "training.steps=30", "guard.window=4", "guard.outlier=0.5", "guard.divergence=0")
    try bench.train(configuration, output: "whole", rankCount: 2)
    try bench.train(configuration, output: "parts", rankCount: 2, lastStep: 13)
    try bench.train(configuration, output: "parts", rankCount: 2, resume: .auto)
    #expect(try bench.checkpoint("whole").state.skippedStepCount > 0)
    #expect(try bench.digests("parts") == bench.digests("whole"))
  }

  /// The rate rises with the warm-up until the model diverges; half the rate, twice, is still too much.
  @Test func aDivergingRunReturnsWithASmallerRateALimitedNumberOfTimes() throws {
    let bench = try TrainingBench()
    let configuration = try bench.configuration(
      "training.steps=400", "optimizer.kind=sgd", "optimizer.learningRate=1e9", "optimizer.clip=0",
      "schedule.kind=constant", "schedule.warmup=300", "guard.window=3", "guard.divergence=0.3",
      "guard.outlier=0", "guard.rateFactor=0.9", "coordinator.checkpointEvery=1",
      "coordinator.evaluateEvery=0")
    let log = LogLines()
    let error = #expect(throws: MilmError.self) {
      try bench.train(configuration, output: "run", rankCount: 2, log: log)
    }
    let message = try #require(error?.description)
    let returns = log.all.filter { $0.contains("the run has diverged and returns") }.count
    #expect(message.contains("after \(returns) returns"), "\(message)")
  }

  @Test func aSmallerRateRescuesADivergingRun() throws {
    let bench = try TrainingBench()
    // Good steps, then a rate far too large: the guard lowers it.
    try bench.train(
      try bench.configuration("training.steps=10", "coordinator.evaluateEvery=0"), output: "good",
      rankCount: 2)
    let wild = try bench.configuration(
      "training.steps=60", "coordinator.evaluateEvery=0", "optimizer.learningRate=0.5", "optimizer.clip=0",
      "schedule.kind=constant", "schedule.warmup=0", "guard.window=3", "guard.outlier=0",
      "guard.divergence=0.7", "guard.rateFactor=0.01", "guard.returns=3", "coordinator.checkpointEvery=2",
      "coordinator.keepLast=50")
    let log = LogLines()
    let outcome = try bench.train(wild, output: "run", rankCount: 2, log: log)
    #expect(outcome.isFinished)
    let state = try bench.checkpoint("run").state
    #expect((state.guardRecord?.returnCount ?? 0) > 0, "\(log.all)")
    #expect(try #require(state.guardRecord).rateScale < 0.5)
    #expect(log.contains("returns to a checkpoint, with a reduced learning rate"))
    let lossLines = try bench.losses("run")
    #expect(lossLines.count == 60)
  }

  @Test(arguments: [0, 1, 2])
  func aFlippedBitOfOneRankEndsTheRunBeforeACheckpointIsMadeOfIt(rank: Int) throws {
    let bench = try TrainingBench()
    let configuration = try bench.configuration("exchange.hashEvery=100", "coordinator.evaluateEvery=0")
    do {
      try bench.train(configuration, output: "run", rankCount: 3, faults: ["corrupt:step:\(rank):8"])
      Issue.record("nobody noticed")
    } catch {
      #expect("\(error)".contains("parameters differ between ranks at step 10"))
      #expect("\(error)".contains("rank \(rank) (local-\(rank)) has"))
    }
    #expect(try RunDirectory(path: bench.folder.file("run")).checkpointSteps() == [5])
  }
}
