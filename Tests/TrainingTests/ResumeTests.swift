import Checkpoints
import Communication
import Corpus
import Foundation
import Platform
import TestSupport
import Testing
import Training

@Suite struct ResumeTests {
  /// Stops at a checkpoint's step, between checkpoints, at an evaluation's step, and across epochs.
  @Test(arguments: Codec.allCases, [[5], [7], [10, 13]])
  func aResumedRunEqualsTheUninterruptedOneBitForBit(codec: Codec, stops: [Int]) throws {
    let bench = try TrainingBench(tokenCount: 700)
    let configuration = try bench.configuration("exchange.codec=\(codec.rawValue)")
    let whole = try bench.train(configuration, output: "whole", rankCount: 2)
    for stop in stops {
      try bench.train(configuration, output: "parts", rankCount: 2, resume: .auto, lastStep: stop)
      #expect(try bench.checkpoint("parts").state.step == stop)
    }
    let parts = try bench.train(configuration, output: "parts", rankCount: 2, resume: .auto)
    #expect(try bench.digests("parts") == bench.digests("whole"))
    #expect(parts == whole)
    #expect(try bench.losses("parts") == bench.losses("whole"))
    #expect(try bench.evaluatedSteps("parts") == bench.evaluatedSteps("whole"))
    #expect(try bench.checkpoint("parts", "best").state.step == bench.checkpoint("whole", "best").state.step)
  }

  @Test func accumulatedSegmentsResumeBitForBit() throws {
    let bench = try TrainingBench()
    let configuration = try bench.configuration("training.accumulate=3", "exchange.codec=int8")
    try bench.train(configuration, output: "whole", rankCount: 3)
    try bench.train(configuration, output: "parts", rankCount: 3, lastStep: 8)
    try bench.train(configuration, output: "parts", rankCount: 3, resume: .auto)
    #expect(try bench.digests("parts") == bench.digests("whole"))
  }

  /// From each number of ranks to each other one, over the 22 steps after the restart.
  @Test(arguments: (1...4).flatMap { before in (1...4).map { (before, $0) } }.filter { $0.0 != $0.1 })
  func aResumeOnAnotherNumberOfRanksReadsTheSameData(before: Int, after: Int) throws {
    let bench = try TrainingBench()
    let configuration = try bench.configuration("training.steps=30")
    try bench.train(configuration, output: "whole", rankCount: before)
    try bench.train(configuration, output: "parts", rankCount: before, lastStep: 8)
    let log = LogLines()
    try bench.train(configuration, output: "parts", rankCount: after, resume: .auto, log: log)
    for (step, loss) in try bench.losses("whole") {
      let resumed = try #require(try bench.losses("parts")[step])
      #expect(abs(resumed - loss) <= 1e-4 * loss, "step \(step)")
    }
    #expect(log.contains("continues, not bit-equal: ranks \(before) → \(after)"))
  }

  @Test func residualsSurviveAChangeOfRanks() throws {
    let bench = try TrainingBench()
    let configuration = try bench.configuration("exchange.codec=int8")
    try bench.train(configuration, output: "run", rankCount: 4, lastStep: 7)
    #expect(try bench.checkpoint("run").contains(.exchange))
    let outcome = try bench.train(configuration, output: "run", rankCount: 2, resume: .auto)
    #expect(outcome.isFinished)
    #expect(try !bench.checkpoint("run").contains(.exchange))
  }

  @Test func anExistingRunIsRefusedUnlessItIsResumed() throws {
    let bench = try TrainingBench()
    let configuration = try bench.configuration("training.steps=5")
    try bench.train(configuration, output: "run")
    #expect(throws: MilmError.self) { try bench.train(configuration, output: "run") }
    let log = LogLines()
    let again = try bench.train(configuration, output: "run", resume: .auto, log: log)
    #expect(again.isFinished && log.contains("the run is finished"))
  }

  @Test func autoStartsFromTheBeginningWithoutACheckpoint() throws {
    let bench = try TrainingBench()
    let outcome = try bench.train(try bench.configuration("training.steps=5"), output: "run", resume: .auto)
    #expect(outcome.step == 5)
  }

  @Test func moreStepsContinueAFinishedRun() throws {
    let bench = try TrainingBench()
    try bench.train(try bench.configuration("training.steps=5"), output: "run")
    let outcome = try bench.train(try bench.configuration("training.steps=9"), output: "run", resume: .auto)
    #expect(outcome.step == 9)
  }

  @Test func aChangedKeyIsRefusedByName() throws {
    let bench = try TrainingBench()
    try bench.train(try bench.configuration(), output: "run", lastStep: 5)
    let changed = try bench.configuration("model.hidden=18")
    let expected =
      "cannot resume with a different configuration: model.hidden: 17 in the run, 18 now; a new run may start from the "
      + "weights of this one, with --init \(bench.folder.file("run"))"
    #expect(throws: MilmError(expected)) {
      try bench.train(changed, output: "run", resume: .auto)
    }
  }

  @Test func anotherVocabularyIsRefused() throws {
    let bench = try TrainingBench()
    let configuration = try bench.configuration()
    try bench.train(configuration, output: "run", lastStep: 5)
    try SyntheticText(seed: 4, wordCount: 40).writeCorpus(
      at: URL(filePath: bench.corpus), trainTokenCount: 6000, validTokenCount: 700, testTokenCount: 700)
    do {
      try bench.train(configuration, output: "run", rankCount: 2, resume: .auto)
      Issue.record("the other vocabulary was accepted")
    } catch {
      #expect("\(error)".contains("the vocabulary differs from that of"))
    }
  }

  @Test(
    arguments: [
      "model.safetensors", "optimizer.safetensors", "carry.safetensors", "exchange.safetensors", "state.json",
    ],
    ["flip", "truncate", "remove", "link"])
  func aCorruptedCheckpointIsRefusedAndSetAsideAndThePreviousOneUsed(file: String, corruption: String) throws
  {
    let bench = try TrainingBench()
    let configuration = try bench.configuration("exchange.codec=int8")
    try bench.train(configuration, output: "whole", rankCount: 2)
    try bench.train(configuration, output: "run", rankCount: 2, lastStep: 12)
    try apply(corruption, on: bench.folder.file("run/checkpoints/step-00000012/\(file)"))
    let refused = try bench.folder.entries("run/checkpoints/step-00000012")
    let log = LogLines()
    try bench.train(configuration, output: "run", rankCount: 2, resume: .auto, log: log)
    #expect(log.contains("a checkpoint was refused"))
    #expect(log.contains("step=10"))
    #expect(try bench.folder.entries("run/checkpoints/step-00000012.set-aside") == refused)
    #expect(try bench.digests("run") == bench.digests("whole"))
  }

  @Test func withoutAVerifiedCheckpointNothingIsOverwritten() throws {
    let bench = try TrainingBench()
    let configuration = try bench.configuration()
    try bench.train(configuration, output: "run", lastStep: 12)
    let checkpoints = bench.folder.file("run/checkpoints")
    for name in try bench.folder.entries("run/checkpoints") where name.hasPrefix("step-") {
      try apply("flip", on: "\(checkpoints)/\(name)/model.safetensors")
    }
    let before = try bench.folder.entries("run/checkpoints")
    let error = #expect(throws: MilmError.self) {
      try bench.train(configuration, output: "run", rankCount: 2, resume: .auto)
    }
    #expect(
      error?.description.hasPrefix("\(checkpoints): expected a checkpoint that verifies, found none among 3")
        == true, "\(String(describing: error))")
    #expect(try bench.folder.entries("run/checkpoints") == before)
  }

  @Test func aCheckpointOfAnotherRunNeverCostsThisOneAny() throws {
    let bench = try TrainingBench()
    let configuration = try bench.configuration()
    try bench.train(configuration, output: "one", lastStep: 10)
    try bench.train(configuration, output: "two")
    let before = try bench.folder.entries("two/checkpoints")
    let foreign = bench.folder.file("one/checkpoints/step-00000010")
    do {
      try bench.train(configuration, output: "two", resume: .checkpoint(foreign))
      Issue.record("the other run's checkpoint was accepted")
    } catch {
      #expect("\(error)".contains("belongs to a different run than"))
    }
    #expect(try bench.folder.entries("two/checkpoints") == before)
  }

  @Test func aNewDirectoryContinuesAnotherRunWithCheckpointsOfItsOwn() throws {
    let bench = try TrainingBench()
    let configuration = try bench.configuration()
    try bench.train(configuration, output: "one")
    // One at the step of an evaluation, one after it, whose checkpoint carries the result.
    for (stop, output) in [(10, "two"), (12, "three")] {
      try bench.train(configuration, output: "part-\(stop)", lastStep: stop)
      let name = String(format: "step-%08d", stop)
      let foreign = bench.folder.file("part-\(stop)/checkpoints/\(name)")
      try bench.train(configuration, output: output, resume: .checkpoint(foreign), lastStep: stop + 1)
      #expect(try bench.checkpoint(output, name).state.step == stop)
      try bench.train(configuration, output: output, resume: .auto)
      #expect(try bench.digests(output) == bench.digests("one"))
    }
  }

  @Test func aPerplexityThatIsNotANumberDoesNotPreventResuming() throws {
    let bench = try TrainingBench()
    let configuration = try bench.configuration(
      "optimizer.learningRate=1e30", "optimizer.clip=0", "schedule.warmup=0", "schedule.kind=constant",
      "coordinator.evaluateEvery=1", "coordinator.checkpointEvery=1", "training.steps=3")
    try bench.train(configuration, output: "run", lastStep: 2)
    #expect(try bench.train(configuration, output: "run", resume: .auto).step == 3)
  }

  @Test func aNamedCheckpointThatIsCorruptedIsAnError() throws {
    let bench = try TrainingBench()
    let configuration = try bench.configuration()
    try bench.train(configuration, output: "run", lastStep: 12)
    let checkpoint = bench.folder.file("run/checkpoints/step-00000012")
    try apply("flip", on: "\(checkpoint)/model.safetensors")
    do {
      try bench.train(configuration, output: "run", rankCount: 2, resume: .checkpoint(checkpoint))
      Issue.record("the corrupted checkpoint was accepted")
    } catch {
      #expect("\(error)".contains("model.safetensors"))
    }
  }

  private func apply(_ corruption: String, on path: String) throws {
    let url = URL(filePath: path)
    var data = try Data(contentsOf: url)
    switch corruption {
    case "flip": data[data.count / 2] ^= 1
    case "truncate": data.removeLast(7)
    case "link":
      let store = url.deletingLastPathComponent().deletingLastPathComponent().appendingPathComponent("blob")
      try FileManager.default.moveItem(at: url, to: store)
      return try FileManager.default.createSymbolicLink(at: url, withDestinationURL: store)
    default: return try FileManager.default.removeItem(at: url)
    }
    try data.write(to: url)
  }
}
