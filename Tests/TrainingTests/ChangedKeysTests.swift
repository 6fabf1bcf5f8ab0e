import Checkpoints
import Foundation
import TestSupport
import Testing
import Training

/// Keys that change when a run is resumed.
@Suite struct ChangedKeysTests {
  /// Evaluations and checkpoints do not change what is trained.
  @Test(arguments: [
    "coordinator.evaluateEvery=0", "coordinator.evaluateEvery=3", "coordinator.evaluateEvery=20",
    "coordinator.evaluateStreams=2", "coordinator.checkpointEvery=3", "exchange.hashEvery=7",
    "exchange.retune=true", "exchange.allowLoss=false", "guard.outlier=9", "guard.divergence=3",
    "coordinator.patience=9",
  ])
  func aRunContinuesTheSameWay(setting: String) throws {
    let bench = try TrainingBench()
    try bench.train(try bench.configuration(), output: "whole", rankCount: 2)
    try bench.train(try bench.configuration(), output: "parts", rankCount: 2, lastStep: 12)
    let log = LogLines()
    try bench.train(try bench.configuration(setting), output: "parts", rankCount: 2, resume: .auto, log: log)
    let key = setting.prefix { $0 != "=" }
    #expect(log.contains("changed on resume: \(key): "), "\(log.all)")
    #expect(log.all.filter { $0.contains("changed on resume") }.count == 1)
    // The files themselves hold the configuration.
    for part in [CheckpointPart.model, .optimizer, .carry] {
      #expect(try bench.tensors("parts", part) == bench.tensors("whole", part), "\(part)")
    }
    let configuration = try String(contentsOfFile: bench.folder.file("parts/config.yaml"), encoding: .utf8)
    #expect(try RunConfiguration(yaml: configuration, source: "config.yaml") == bench.configuration(setting))
  }

  /// A placement or a codec sums in another order or rounds; a learning rate trains otherwise, from the next step on.
  @Test(arguments: [
    ("exchange.vocabulary=sharded", 1e-4), ("exchange.vocabulary=replicated", 1e-4),
    ("exchange.codec=int8", 0.05), ("exchange.codec=auto", 0.05), ("exchange.codec=lossless", 1e-6),
    ("optimizer.learningRate=1e-3", 0.2), ("schedule.kind=constant", 0.2), ("schedule.warmup=15", 0.2),
    ("optimizer.clip=0.1", 0.2), ("optimizer.weightDecay=0.1", 0.2),
  ])
  func aRunContinuesNearly(setting: String, tolerance: Double) throws {
    let bench = try TrainingBench(wordCount: 900)
    let before =
      setting.hasSuffix("replicated") ? "exchange.vocabulary=sharded" : "exchange.vocabulary=replicated"
    try bench.train(try bench.configuration(before), output: "whole", rankCount: 2)
    try bench.train(try bench.configuration(before), output: "parts", rankCount: 2, lastStep: 12)
    let log = LogLines()
    let outcome = try bench.train(
      try bench.configuration(before, setting), output: "parts", rankCount: 2, resume: .auto, log: log)
    #expect(outcome.isFinished && log.contains("changed on resume: \(setting.prefix { $0 != "=" }): "))
    for (step, loss) in try bench.losses("whole") {
      let found = try bench.losses("parts")[step] ?? .nan
      #expect(abs(found - loss) <= (step <= 12 ? 0 : tolerance) * loss, "step \(step)")
    }
    if let codec = setting.split(separator: "=").last.map(String.init), setting.contains("codec"),
      codec != "auto"
    {
      let decision = try bench.checkpoint("parts").state.codecDecisions.last
      #expect(decision == .init(step: 12, codec: codec, reason: "configured"))
    }
  }

  /// An evaluation that an interrupted process has left is dropped where nothing is evaluated any more.
  @Test func anEvaluationThatWasLeftIsNotAwaitedWithoutEvaluations() throws {
    let bench = try TrainingBench()
    let stop = StopRequest()
    stop.make()
    try bench.train(try bench.configuration("coordinator.evaluateEvery=1"), output: "run", stop: stop)
    #expect(try bench.checkpoint("run").state.pendingEvaluation == .init(step: 1))
    let outcome = try bench.train(
      try bench.configuration("coordinator.evaluateEvery=0"), output: "run", resume: .auto)
    #expect(outcome.isFinished && outcome.bestPerplexity == nil)
  }

  /// The result of an evaluation takes effect before the next one begins, however rarely the resumed run evaluates.
  @Test func aPendingEvaluationIsNeverReplaced() throws {
    let bench = try TrainingBench()
    var state = try {
      try bench.train(try bench.configuration(), output: "run", lastStep: 12)
      return try bench.checkpoint("run").state
    }()
    state.pendingEvaluation = .init(step: 10, perplexity: 9)
    state.step = 20
    let boundary = Boundary(
      try bench.configuration("coordinator.evaluateEvery=20"), origin: .resumed(12), evaluates: true)
    let due = boundary.due(at: state)
    #expect(due.effectiveEvaluation == 10 && due.isEvaluated)
  }

  @Test(arguments: [
    ("training.lanes=6", "training.lanes: 12 in the run, 6 now"), ("training.seed=1", "training.seed: 5"),
    ("optimizer.kind=sgd", "optimizer.kind: adam"), ("model.variant=lstm", "model.variant: multencdec"),
  ])
  func whatChangesWhatWasComputedIsRefusedWithTheRemedy(setting: String, expected: String) throws {
    let bench = try TrainingBench()
    try bench.train(try bench.configuration(), output: "run", lastStep: 5)
    let error = #expect(throws: (any Error).self) {
      try bench.train(try bench.configuration(setting), output: "run", resume: .auto)
    }
    let text = "\(String(describing: error))"
    #expect(text.contains(expected) && text.contains("with --init \(bench.folder.file("run"))"), "\(text)")
  }
}
