import Communication
import Foundation
import Logging

/// What a step of training takes: the whole of it, from the words to the updated parameters.
public struct StepBenchmark {
  /// What was measured, all ranks together.
  public struct Result: Encodable, Sendable {
    /// Words of all ranks a second, by the median step.
    public let tokensPerSecond: Double
    /// The median step.
    public let secondsPerStep: Double
    /// The largest memory of a rank, in megabytes.
    public let peakMegabytes: Double
    /// Floating-point operations of the matrix products of a token, forward and backward.
    public let flopsPerToken: Int
    /// What the ranks' matrix products reach by themselves, in GFLOP/s.
    public let peakGigaflops: Double
    /// Which share of that the whole step reaches.
    public let peakShare: Double
    /// What operands of products are rounded to.
    public let precision: String
    /// Threads a rank.
    public let threads: Int
    /// Lanes of all ranks.
    public let lanes: Int
    /// T.
    public let segment: Int
    /// Numbers that the model has.
    public let parameters: Int
    /// V.
    public let vocabulary: Int
    /// How many ranks.
    public let ranks: Int
    /// The library that multiplies.
    public let engine: String
    /// The instruction set that it has chosen.
    public let cpuLevel: String
    /// Steps that were timed.
    public let steps: Int
    /// The loss of the first step, in nats a token.
    public let firstLoss: Double
    /// The loss of the last step, in nats a token.
    public let lastLoss: Double
  }

  /// Steps before the timed ones: memory is touched, primitives are made.
  private static let warmupStepCount = 3

  private let benchmark: Benchmark
  private let stepCount: Int

  /// A benchmark of `stepCount` timed steps.
  public init(_ benchmark: Benchmark, stepCount: Int) {
    self.benchmark = benchmark
    self.stepCount = stepCount
  }

  /// Takes the steps; all ranks call it and get the same figures.
  ///
  /// `progress` hears of steps done and in all.
  public func run(progress: (_ done: Int, _ total: Int) -> Void = { _, _ in }) throws -> Result {
    let ranks = benchmark.ranks
    let training = benchmark.configuration.training
    let totalCount = stepCount + Self.warmupStepCount
    let engine = try training.engine(ranks)
    let text = try ranks.together("open the text") {
      try benchmark.text(
        tokenCount: benchmark.configuration.tokensPerStep * totalCount + training.lanes)
    }
    let data = try TrainingData(
      text.tokens, endOfSentenceID: text.endOfSentenceID, configuration: benchmark.configuration, ranks: ranks
    )
    let replica = try Replica(
      benchmark.configuration, text: text.identity, ranks: ranks, engine: engine,
      thread: CommunicationThread())
    let coordination = Coordination(
      replica, coordinator: nil, evaluates: false, origin: .beginning, restoredPath: nil, faults: FaultPlan())
    let trainer = Trainer(
      replica, data: data, coordination: coordination, reporter: nil, stop: StopRequest(),
      faults: FaultPlan(),
      logger: Logger(label: "benchmark"))

    var seconds: [Double] = []
    var losses: [Double] = []
    for step in 0..<totalCount {
      let clock = ContinuousClock()
      let start = clock.now
      losses.append(try trainer.takeStep().loss / Double(benchmark.configuration.tokensPerStep))
      seconds.append((clock.now - start).inSeconds)
      progress(step + 1, totalCount)
    }
    let megabytes = try ranks.control.maximum("memory", UInt64(Benchmark.peakMegabytes))
    let slowest = try ranks.control.sum("step time", [seconds.dropFirst(Self.warmupStepCount).median])[0]
    let secondsPerStep = slowest / Double(ranks.rankCount)
    let peak = try ranks.control.sum("peak", [ProductBenchmark.peakGigaflops(engine)])[0]
    let tokensPerSecond = Double(benchmark.configuration.tokensPerStep) / secondsPerStep
    let flopsPerToken = 6 * replica.model.multiplicationsPerToken
    return Result(
      tokensPerSecond: tokensPerSecond, secondsPerStep: secondsPerStep, peakMegabytes: Double(megabytes),
      flopsPerToken: flopsPerToken, peakGigaflops: peak,
      peakShare: tokensPerSecond * Double(flopsPerToken) / 1e9 / peak, precision: engine.precision.rawValue,
      threads: engine.threadCount, lanes: training.lanes, segment: training.segment,
      parameters: replica.model.parameters.parameterCount, vocabulary: replica.model.vocabularySize,
      ranks: ranks.rankCount, engine: engine.name, cpuLevel: engine.cpuLevel, steps: stepCount,
      firstLoss: losses[0], lastLoss: losses[losses.count - 1])
  }
}
