import Checkpoints
import Foundation
import TestSupport
import Testing
import Training

/// Runs that are asked to stop, and evaluations that take longer than the steps in between.
@Suite struct InterruptionTests {
  /// An evaluation takes as long as hundreds of steps.
  private func slowBench() throws -> (TrainingBench, RunConfiguration) {
    let bench = try TrainingBench(validTokenCount: 300_000)
    let configuration = try bench.configuration(
      "training.steps=70", "coordinator.evaluateEvery=30", "coordinator.checkpointEvery=3",
      "coordinator.reportEvery=1", "coordinator.keepLast=2")
    return (bench, configuration)
  }

  @Test func checkpointsDoNotWaitForAnEvaluation() throws {
    let (bench, configuration) = try slowBench()
    let log = LogLines()
    let outcome = try bench.train(configuration, output: "run", rankCount: 2, log: log)
    let evaluated = try #require(log.all.firstIndex { $0.contains(" evaluated ") && $0.contains("step=30") })
    let written = try #require(log.all.firstIndex { $0.contains("checkpoint written step=42") })
    #expect(written < evaluated)
    #expect(try bench.checkpoint("run", "best").state.step == outcome.bestStep)
    #expect(try bench.evaluatedSteps("run") == [30, 60, 70])
  }

  @Test(arguments: ["worker", "dedicated"])
  func aRunInterruptedDuringAnEvaluationResumesBitForBit(placement: String) throws {
    let (bench, slow) = try slowBench()
    var configuration = slow
    configuration.coordinator.placement = placement == "worker" ? .worker : .dedicated
    let whole = try bench.train(configuration, output: "whole", rankCount: 3)
    let stop = StopRequest()
    let log = LogLines()
    let watcher = Thread {
      while !log.contains("checkpoint written step=36") { usleep(500) }
      stop.make()
    }
    watcher.start()
    let first = try bench.train(configuration, output: "parts", rankCount: 3, log: log, stop: stop)
    #expect(first.isInterrupted && !first.isFinished)
    #expect(first.step >= 36 && first.step < 60)
    let pending = try bench.checkpoint("parts").state.pendingEvaluation
    #expect(pending == CheckpointState.PendingEvaluation(step: 30))
    #expect(log.contains("evaluation postponed step=30"))

    let rest = try bench.train(configuration, output: "parts", rankCount: 3, resume: .auto)
    #expect(rest == whole)
    #expect(try bench.digests("parts") == bench.digests("whole"))
    #expect(try bench.evaluatedSteps("parts") == bench.evaluatedSteps("whole"))
  }

  @Test func aMissingCheckpointCostsItsEvaluationAndNotTheRun() throws {
    let (bench, configuration) = try slowBench()
    let stop = StopRequest()
    let log = LogLines()
    let watcher = Thread {
      while !log.contains("checkpoint written step=36") { usleep(500) }
      stop.make()
    }
    watcher.start()
    try bench.train(configuration, output: "run", rankCount: 2, log: log, stop: stop)
    try FileManager.default.removeItem(
      atPath: bench.folder.file("run/checkpoints/step-00000030/model.safetensors"))
    let again = LogLines()
    let outcome = try bench.train(configuration, output: "run", rankCount: 2, resume: .auto, log: again)
    #expect(outcome.isFinished)
    #expect(again.contains("the pending evaluation cannot be restarted and is skipped"))
  }
}
