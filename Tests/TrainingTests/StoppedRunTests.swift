import Checkpoints
import Corpus
import Foundation
import Platform
import TestSupport
import Testing
import Training

/// What a process leaves where it stops, and what the next one makes of it.
@Suite struct StoppedRunTests {
  /// The rate ruins the model every few steps, so that the run returns: to the same checkpoints, wherever it was stopped.
  @Test(arguments: [0, 8], [2, 50])
  func aStoppedRunEqualsTheUninterruptedOneWithTheGuardToo(evaluateEvery: Int, keepLast: Int) throws {
    let bench = try TrainingBench()
    let configuration = try bench.configuration(
      "training.steps=50", "coordinator.evaluateEvery=\(evaluateEvery)", "optimizer.learningRate=0.3",
      "optimizer.clip=0", "schedule.kind=constant", "schedule.warmup=30", "guard.window=3", "guard.outlier=0",
      "guard.divergence=0.3", "guard.rateFactor=0.1", "guard.returns=5", "coordinator.checkpointEvery=4",
      "coordinator.keepLast=\(keepLast)")
    try bench.train(configuration, output: "whole")
    for stop in [5, 9, 10, 11, 13, 14, 15, 17, 18, 19, 21, 22, 23, 25, 26, 27, 29, 30] {
      try bench.train(configuration, output: "parts", resume: .auto, lastStep: stop)
    }
    try bench.train(configuration, output: "parts", resume: .auto)
    let (whole, parts) = (try bench.checkpoint("whole").state, try bench.checkpoint("parts").state)
    #expect((whole.guardRecord?.returnCount ?? 0) > 0)
    #expect(parts.guardRecord == whole.guardRecord && parts.best == whole.best)
    #expect(try bench.digests("parts") == bench.digests("whole"))
    #expect(try bench.losses("parts") == bench.losses("whole"))
    #expect(try bench.evaluatedSteps("parts") == bench.evaluatedSteps("whole"))
  }

  /// Evaluations are due every 5 steps.
  @Test(arguments: [3, 5, 7, 10, 13], [1, 3])
  func theLastStepOfAProcessIsEvaluated(stop: Int, ranks: Int) throws {
    let bench = try TrainingBench()
    let configuration = try bench.configuration("exchange.vocabulary=\(ranks == 3 ? "sharded" : "auto")")
    let outcome = try bench.train(configuration, output: "run", rankCount: ranks, lastStep: stop)
    let state = try bench.checkpoint("run").state
    #expect(state.step == stop && state.ownPerplexity != nil)
    #expect(outcome.bestStep == state.best?.step && outcome.bestPerplexity == state.best?.perplexity)
    let steps = Array(stride(from: 5, through: stop, by: 5)) + (stop % 5 == 0 ? [] : [stop])
    #expect(try bench.evaluatedSteps("run") == steps)
    // Perplexity falls in the first steps: the last is the best.
    let choice = try CheckpointChoice(bench.folder.file("run"))
    #expect(choice.isBest && choice.checkpoint.state.step == outcome.bestStep && choice.warnings.isEmpty)
    #expect(outcome.bestStep == stop)
    // The same again: there is nothing to do.
    let again = try bench.train(
      configuration, output: "run", rankCount: ranks, resume: .auto, lastStep: stop)
    #expect(again.bestStep == stop)
    #expect(try bench.evaluatedSteps("run") == steps)
  }

  @Test func anInterruptedRunIsEvaluatedByTheNextProcess() throws {
    let bench = try TrainingBench()
    let configuration = try bench.configuration(
      "training.steps=2000", "coordinator.evaluateEvery=500", "coordinator.checkpointEvery=4")
    let stop = StopRequest()
    let log = LogLines { if $0.contains("checkpoint written step=8") { stop.make() } }
    let first = try bench.train(configuration, output: "run", log: log, stop: stop)
    try #require(first.isInterrupted && first.step < 500)
    #expect(try bench.evaluatedSteps("run") == [])
    let before = try CheckpointChoice(bench.folder.file("run"))
    #expect(before.reason.contains("none has been evaluated") && before.newest.ownPerplexity == nil)
    let second = try bench.train(configuration, output: "run", resume: .auto, lastStep: first.step)
    #expect(second.step == first.step && second.bestStep == first.step)
    #expect(try bench.evaluatedSteps("run") == [first.step])
    #expect(try CheckpointChoice(bench.folder.file("run")).isBest)
  }

  /// As a version leaves it that did not evaluate the last step.
  @Test func aFinishedRunThatWasNotEvaluatedIsRepaired() throws {
    let bench = try TrainingBench()
    let configuration = try bench.configuration()
    let outcome = try bench.train(configuration, output: "run")
    var state = try bench.checkpoint("run").state
    (state.lastEvaluation, state.bestStep, state.bestPerplexity) = (nil, nil, nil)
    let path = "\(bench.folder.file("run"))/checkpoints/step-00000020/state.json"
    try Data(state.encoded()).write(to: URL(filePath: path))
    unlink("\(bench.folder.file("run"))/checkpoints/best")
    let log = LogLines()
    let again = try bench.train(configuration, output: "run", rankCount: 2, resume: .auto, log: log)
    #expect(log.contains("its last step has not been evaluated"))
    #expect(again.isFinished && again.bestStep == 20)
    #expect(again.bestPerplexity == outcome.bestPerplexity || outcome.bestStep != 20)
    #expect(try bench.evaluatedSteps("run") == [5, 10, 15, 20])
    #expect(try bench.checkpoint("run", "best").state.step == 20)
  }
}

/// What a run refuses instead of restarting from step 0 or reading another text.
@Suite struct ResumeRefusalTests {
  enum Loss: String, CaseIterable { case emptied, removed, dangling, ofAnEarlierVersion }

  @Test(arguments: Loss.allCases)
  func checkpointsThatAreAwayAreNotTheBeginningOfARun(loss: Loss) throws {
    let bench = try TrainingBench()
    let configuration = try bench.configuration()
    try bench.train(configuration, output: "run", lastStep: 10)
    let checkpoints = bench.folder.file("run/checkpoints")
    for name in try bench.folder.entries("run/checkpoints") where loss != .dangling || name != "last" {
      try FileManager.default.removeItem(atPath: "\(checkpoints)/\(name)")
    }
    if loss == .removed { try FileManager.default.removeItem(atPath: checkpoints) }
    if loss == .dangling || loss == .ofAnEarlierVersion { unlink(bench.folder.file("run/newest-checkpoint")) }
    let metrics = try String(contentsOfFile: bench.folder.file("run/metrics.jsonl"), encoding: .utf8)
    let error = #expect(throws: MilmError.self) {
      try bench.train(configuration, output: "run", rankCount: 2, resume: .auto)
    }
    #expect(
      error?.description.contains("expected a checkpoint, since the run has reached step 10") == true,
      "\(String(describing: error))")
    #expect(try String(contentsOfFile: bench.folder.file("run/metrics.jsonl"), encoding: .utf8) == metrics)
  }

  @Test func aRunThatNeverCompletedACheckpointBeginsAnew() throws {
    let bench = try TrainingBench()
    let configuration = try bench.configuration()
    let first = try bench.train(
      configuration, output: "run", lastStep: 12,
      faults: ["fail:write:0:5", "fail:write:0:10", "fail:write:0:12"])
    #expect(first.failedWriteCount == 3)
    #expect(try bench.train(configuration, output: "run", resume: .auto).isFinished)
    try bench.train(configuration, output: "whole")
    #expect(try bench.digests("run") == bench.digests("whole"))
  }

  @Test func checkpointsThatFailInARowStopTheRun() throws {
    let bench = try TrainingBench()
    let configuration = try bench.configuration(
      "training.steps=100000", "coordinator.evaluateEvery=0", "coordinator.failedWrites=2")
    let log = LogLines()
    let outcome = try bench.train(
      configuration, output: "run", rankCount: 2, log: log, faults: ["fail:write:0:10", "fail:write:0:15"])
    #expect(outcome.hasGivenUpWriting && !outcome.isInterrupted && !outcome.isFinished)
    #expect(outcome.step < 10000 && log.contains("as coordinator.failedWrites allows"))
    #expect(try bench.checkpoint("run").state.step == outcome.step)
  }

  @Test(arguments: ["run/checkpoints", "run"])
  func aDirectoryThatVanishesIsMadeAgain(name: String) throws {
    let bench = try TrainingBench()
    let configuration = try bench.configuration("training.steps=30")
    let log = LogLines {
      guard $0.contains("checkpoint written step=5 ") else { return }
      try? FileManager.default.removeItem(atPath: bench.folder.file(name))
    }
    let outcome = try bench.train(configuration, output: "run", rankCount: 2, log: log)
    #expect(outcome.step == 30)
    try bench.train(configuration, output: "whole", rankCount: 2)
    #expect(try bench.digests("run") == bench.digests("whole"))
    #expect(
      try Set(bench.folder.entries("run")).isSuperset(of: ["config.yaml", "metrics.jsonl", "vocabulary.txt"]))
    let more = try bench.configuration("training.steps=31")
    #expect(try bench.train(more, output: "run", rankCount: 2, resume: .auto).step == 31)
  }

  /// Writes another text of the same length into a split of the bench's corpus.
  private func change(_ split: String, of bench: TrainingBench) throws {
    let corpus = try Corpus(opening: URL(filePath: bench.corpus))
    let tokens = try corpus.tokens(try #require(Split(rawValue: split)))
    var ids = [Int32](repeating: 0, count: tokens.count)
    try ids.withUnsafeMutableBufferPointer { try tokens.copy(0..<tokens.count, into: $0) }
    ids.reverse()
    let writer = try TokenFileWriter(
      URL(filePath: "\(bench.corpus)/\(split).tokens"), vocabularyCount: corpus.vocabulary.count)
    try writer.append(ids)
    try writer.finish()
  }

  @Test func anotherTrainingTextIsRefused() throws {
    let bench = try TrainingBench()
    let configuration = try bench.configuration()
    try bench.train(configuration, output: "run", lastStep: 5)
    let checksums = try bench.checkpoint("run").state.tokenChecksums
    #expect(checksums?.keys.sorted() == ["test", "train", "valid"])
    try change("train", of: bench)
    let before = try bench.folder.entries("run/checkpoints")
    let error = #expect(throws: MilmError.self) {
      try bench.train(configuration, output: "run", rankCount: 2, resume: .auto)
    }
    #expect(error?.description.contains("the training text differs from that of") == true)
    #expect(try bench.folder.entries("run/checkpoints") == before)
  }

  @Test func anotherValidationSplitStartsANewBest() throws {
    let bench = try TrainingBench()
    let configuration = try bench.configuration()
    try bench.train(configuration, output: "run", rankCount: 2, lastStep: 10)
    // No perplexity can be lower than this one, which belongs to the old split.
    var state = try bench.checkpoint("run").state
    (state.bestStep, state.bestPerplexity, state.patienceUsed) = (5, 1, 3)
    try Data(state.encoded()).write(
      to: URL(filePath: bench.folder.file("run/checkpoints/step-00000010/state.json")))
    try change("valid", of: bench)
    let log = LogLines()
    let outcome = try bench.train(
      configuration, output: "run", rankCount: 2, resume: .auto, lastStep: 12, log: log)
    #expect(log.contains("the validation split differs from that of the run"))
    #expect((outcome.bestPerplexity ?? 0) > 1 && (outcome.bestStep ?? 0) >= 10)
    #expect(try bench.checkpoint("run").state.patienceUsed == 0)
    #expect(try CheckpointChoice(bench.folder.file("run")).checkpoint.state.step == outcome.bestStep)
    let quiet = LogLines()
    try bench.train(configuration, output: "run", rankCount: 2, resume: .auto, log: quiet)
    #expect(!quiet.contains("the validation split differs"))
  }

  /// Zeros in place of lines are what a power failure leaves.
  @Test(arguments: ["missing", "zeros", "nothing"])
  func gapsInTheMetricsAreSaid(gap: String) throws {
    let bench = try TrainingBench()
    let configuration = try bench.configuration()
    try bench.train(configuration, output: "run", lastStep: 10)
    let path = bench.folder.file("run/metrics.jsonl")
    var lines = try String(contentsOfFile: path, encoding: .utf8).split(separator: "\n").map(String.init)
    #expect(try bench.checkpoint("run").state.metricsLineCount == 10)
    if gap == "missing" { lines.removeSubrange(2..<4) }
    if gap == "zeros" { lines[3] = String(repeating: "\0", count: lines[3].count) }
    try (lines.joined(separator: "\n") + "\n").write(toFile: path, atomically: false, encoding: .utf8)
    let log = LogLines()
    try bench.train(configuration, output: "run", resume: .auto, lastStep: 11, log: log)
    let missing = gap == "missing" ? 2 : 1
    #expect(log.contains("metrics are incomplete") == (gap != "nothing"), "\(log.all)")
    if gap != "nothing" {
      #expect(log.contains("expected 10 lines of training through the checkpoint, found \(10 - missing)"))
    }
    #expect(log.contains("removed 1 that cannot be read") == (gap == "zeros"))
  }
}
