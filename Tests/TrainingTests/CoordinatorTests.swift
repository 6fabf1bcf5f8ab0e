import Checkpoints
import Evaluation
import Foundation
import TestSupport
import Testing
import Training

@Suite struct CoordinatorTests {
  @Test func bestPointsToTheLowestPerplexity() throws {
    let bench = try TrainingBench()
    let configuration = try bench.configuration("training.steps=60")
    let outcome = try bench.train(configuration, output: "run", rankCount: 2)
    let best = try bench.checkpoint("run", "best")
    #expect(best.state.step == outcome.bestStep)
    #expect(try bench.evaluatedSteps("run") == Array(stride(from: 5, through: 60, by: 5)))
  }

  @Test func theBestStepIsKeptEvenBetweenCheckpoints() throws {
    let bench = try TrainingBench()
    let configuration = try bench.configuration(
      "training.steps=30", "coordinator.checkpointEvery=100", "coordinator.evaluateEvery=7")
    let outcome = try bench.train(configuration, output: "run")
    #expect(try bench.checkpoint("run", "best").state.step == outcome.bestStep)
  }

  @Test func keepLastLimitsTheNumberOfCheckpoints() throws {
    let bench = try TrainingBench()
    let configuration = try bench.configuration(
      "training.steps=50", "coordinator.keepLast=2", "coordinator.evaluateEvery=0")
    try bench.train(configuration, output: "run")
    let names = try FileManager.default.contentsOfDirectory(atPath: bench.folder.file("run/checkpoints"))
    #expect(Set(names) == ["last", "step-00000045", "step-00000050"])
  }

  @Test func patienceEndsARunWithoutImprovement() throws {
    let bench = try TrainingBench()
    // The rate is so large that perplexity soon no longer falls.
    let configuration = try bench.configuration(
      "training.steps=400", "optimizer.learningRate=3.0", "optimizer.clip=0", "schedule.kind=constant",
      "schedule.warmup=0", "coordinator.patience=2")
    let outcome = try bench.train(configuration, output: "run", rankCount: 2)
    #expect(outcome.isFinished && outcome.step < 400)
    let state = try bench.checkpoint("run").state
    #expect(state.patienceUsed == 2)
    let again = try bench.train(configuration, output: "run", rankCount: 2, resume: .auto)
    #expect(again.step == outcome.step)
  }

  @Test func plateausLowerTheRate() throws {
    let bench = try TrainingBench()
    let configuration = try bench.configuration(
      "training.steps=40", "optimizer.learningRate=3.0", "optimizer.clip=0", "schedule.kind=plateau",
      "schedule.warmup=0")
    try bench.train(configuration, output: "run")
    let state = try bench.checkpoint("run").state
    #expect(state.plateau.rateScale < 1)
  }

  @Test(arguments: ["worker", "dedicated"])
  func theCoordinatorsPerplexityIsThatOfAnEvaluationOfTheCheckpoint(placement: String) throws {
    let bench = try TrainingBench()
    try bench.train(
      try bench.configuration("coordinator.placement=\(placement)"), output: "run", rankCount: 2)
    let state = try bench.checkpoint("run", "best").state
    let summary = try #require(
      try bench.evaluation("run", ScoringMethod(reading: .streams(3)), text: .split(.valid)).evaluate())
    let last = try bench.checkpoint("run").state
    #expect(summary.step == state.step)
    #expect(summary.perplexity == last.bestPerplexity)
  }

  @Test(.enabled("expected the right to mount a small file system") { try TinyDisk(byteCount: 4096) != nil })
  func aFullDiskCostsCheckpointsAndNotTheRun() throws {
    let bench = try TrainingBench()
    let configuration = try bench.configuration(
      "training.steps=30", "coordinator.evaluateEvery=0", "coordinator.checkpointEvery=1",
      "coordinator.keepLast=99", "coordinator.failedWrites=0")
    let disk = try #require(try TinyDisk(byteCount: 500_000))
    try FileManager.default.createDirectory(atPath: disk.file("run"), withIntermediateDirectories: false)
    try FileManager.default.createSymbolicLink(
      atPath: bench.folder.file("run"), withDestinationPath: disk.file("run"))
    let log = LogLines()
    let outcome = try bench.train(configuration, output: "run", rankCount: 2, log: log)
    #expect(outcome.step == 30 && outcome.failedWriteCount > 0)
    #expect(log.contains("; training continues"))
    let steps = try RunDirectory(path: bench.folder.file("run")).checkpointSteps()
    #expect(!steps.isEmpty && steps.count < 30)
    for step in steps {
      try bench.checkpoint("run", String(format: "step-%08d", step)).verify()
    }
    let names = try FileManager.default.contentsOfDirectory(atPath: bench.folder.file("run/checkpoints"))
    #expect(names.count == steps.count + 1, "something half-written was left behind: \(names)")
  }

  /// Training continues, and so do checkpoints once the disk is writable again.
  @Test(.enabled("expected the right to mount a small file system") { try TinyDisk(byteCount: 4096) != nil })
  func aDiskThatIsReadOnlyForAWhileCostsItsCheckpointsAndNotTheRun() throws {
    let bench = try TrainingBench()
    let configuration = try bench.configuration(
      "coordinator.evaluateEvery=0", "coordinator.keepLast=99", "coordinator.checkpointEvery=4")
    try FileManager.default.createDirectory(
      atPath: bench.folder.file("run/checkpoints"), withIntermediateDirectories: true)
    let disk = try #require(try TinyDisk(byteCount: 4 << 20, in: bench.folder, at: "run/checkpoints"))
    let log = LogLines { line in
      if line.contains("checkpoint written step=4") { disk.set(isWritable: false) }
      if line.contains("could not write the checkpoint of step 12") { disk.set(isWritable: true) }
    }
    let outcome = try bench.train(configuration, output: "run", rankCount: 2, log: log)
    #expect(outcome.step == 20 && outcome.failedWriteCount == 2)
    #expect(
      log.all.count { $0.contains("; training continues") && $0.contains("Read-only file system") } == 2)
    #expect(try RunDirectory(path: bench.folder.file("run")).checkpointSteps() == [4, 16, 20])
    try bench.train(configuration, output: "whole", rankCount: 2)
    #expect(try bench.digests("run") == bench.digests("whole"))
    withExtendedLifetime(disk) {}
  }

  /// The parameters diverge at some step; later checkpoints must not count as good.
  @Test func stepsThatAreNotFiniteEndTheRunWithTheLastGoodCheckpointNamed() throws {
    let bench = try TrainingBench()
    let configuration = try bench.configuration(
      "training.steps=100", "optimizer.learningRate=1e30", "optimizer.clip=0", "schedule.warmup=0",
      "schedule.kind=constant", "coordinator.checkpointEvery=1", "coordinator.evaluateEvery=0")
    try bench.train(try bench.configuration("coordinator.checkpointEvery=1"), output: "good", lastStep: 3)
    let log = LogLines()
    do {
      try bench.train(configuration, output: "run", rankCount: 2, log: log)
      Issue.record("the run did not end")
    } catch {
      #expect("\(error)".contains("10 steps in a row had a loss or a gradient that is not finite"))
      #expect("\(error)".contains("the last good checkpoint is"))
    }
    // The last checkpoint is that of the update that made the parameters diverge: skipped steps have none.
    #expect(try RunDirectory(path: bench.folder.file("run")).checkpointSteps() == [1])
  }

  @Test func moreStreamsThanTheValidationTextHasAreRefusedBeforeTheFirstStep() throws {
    let bench = try TrainingBench()
    let configuration = try bench.configuration("coordinator.evaluateStreams=100000")
    do {
      try bench.train(configuration, output: "run", rankCount: 2)
      Issue.record("the streams were accepted")
    } catch {
      #expect("\(error)".hasPrefix("coordinator.evaluateStreams: expected at most the "))
    }
    #expect(!FileManager.default.fileExists(atPath: bench.folder.file("run")))
  }

  @Test func aModelLargerThanMemoryIsRefusedBeforeAnythingIsWritten() throws {
    let bench = try TrainingBench()
    let configuration = try bench.configuration("model.hidden=65536", "model.decoderContext=4096")
    do {
      try bench.train(configuration, output: "run")
      Issue.record("the model was accepted")
    } catch {
      #expect("\(error)".contains("a rank needs about"))
    }
    #expect(!FileManager.default.fileExists(atPath: bench.folder.file("run")))
  }

  @Test func aCarriedStateThatIsNotFiniteSkipsStepsUntilTheNextEpoch() throws {
    let bench = try TrainingBench(tokenCount: 12 * 6 * 4)
    let configuration = try bench.configuration("training.steps=12", "coordinator.evaluateEvery=0")
    try bench.train(configuration, output: "run", rankCount: 2, lastStep: 5)
    try bench.corruptCarriedState("run")
    let outcome = try bench.train(configuration, output: "run", rankCount: 2, resume: .auto)
    // Four steps make an epoch: the state is zero again before the ninth step, so three were skipped.
    #expect(outcome.step == 12)
    #expect(try bench.checkpoint("run").state.skippedStepCount == 3)
    #expect(try bench.losses("run")[9]?.isFinite == true)
  }
}
