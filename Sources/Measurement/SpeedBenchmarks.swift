import Communication
import Foundation
import LanguageModel
import Layers
import Platform
import Reporting
import Tensors
import Training

/// Speed of whole training steps, from tokens to updated parameters.
package struct StepBenchmark {
  /// Warm-up steps, in which memory is touched and primitives are created.
  private static let warmupStepCount = 3

  private let benchmark: Benchmark
  private let stepCount: Int

  /// A benchmark of `stepCount` timed steps.
  package init(_ benchmark: Benchmark, stepCount: Int) {
    self.benchmark = benchmark
    self.stepCount = stepCount
  }

  /// Runs the steps; all ranks call it and get the same result.
  ///
  /// `progress` gets the steps done and their total.
  package func run(progress: (_ done: Int, _ total: Int) -> Void = { _, _ in }) throws -> ModelSpeed {
    let ranks = benchmark.ranks
    let training = benchmark.configuration.training
    let totalCount = stepCount + Self.warmupStepCount
    let engine = try training.engine(ranks)
    try benchmark.checkMemory(benchmark.configuration)
    let text = try ranks.onAllRanks("open the text") {
      try benchmark.text(
        tokenCount: benchmark.configuration.tokensPerStep * totalCount + training.lanes)
    }
    let data = try TrainingData(
      text.tokens, endOfSentenceID: text.endOfSentenceID, configuration: benchmark.configuration, ranks: ranks
    )
    let state = try TrainingState(
      benchmark.configuration, text: text.identity, ranks: ranks, engine: engine,
      thread: try CommunicationThread())
    let step = Step(state, data: data)

    return try benchmark.speed(
      of: state.model, engine: engine, flopsPerToken: state.model.stepFlopsPerToken,
      tokensPerStep: benchmark.configuration.tokensPerStep, stepCount: totalCount,
      warmupStepCount: Self.warmupStepCount, progress: progress
    ) { _ in try step.run().loss / Double(benchmark.configuration.tokensPerStep) }
  }
}

/// Speed of scoring: forward passes of blocks of lanes × segment tokens, with all losses.
package struct EvaluationBenchmark {
  private static let warmupBlockCount = 2

  private let benchmark: Benchmark
  private let blockCount: Int

  /// A benchmark of `blockCount` timed blocks.
  package init(_ benchmark: Benchmark, blockCount: Int) {
    self.benchmark = benchmark
    self.blockCount = blockCount
  }

  /// Scores the blocks with initial weights.
  ///
  /// `progress` gets the blocks done and their total.
  package func run(progress: (_ done: Int, _ total: Int) -> Void = { _, _ in }) throws -> ModelSpeed {
    let training = benchmark.configuration.training
    let totalCount = blockCount + Self.warmupBlockCount
    let engine = try training.engine(benchmark.ranks)
    try benchmark.checkMemory(benchmark.configuration)
    let text = try benchmark.text(tokenCount: training.lanes * training.segment * totalCount + training.lanes)
    let data = try TrainingData(
      text.tokens, endOfSentenceID: text.endOfSentenceID, configuration: benchmark.configuration,
      ranks: benchmark.ranks)
    let model = LanguageModel(benchmark.configuration.model, vocabularySize: text.identity.vocabularySize)
    let weights = ParameterBuffer(model.parameters)
    weights.initialize(seed: UInt64(training.seed), engine: engine)
    let tokens = StepTokens(lanes: data.ownLanes, ownLanes: data.ownLanes, training)
    let scorer = Scorer(
      model, parameters: weights, stepCount: training.segment, streamCount: data.ownLanes.count,
      engine: engine)

    return try benchmark.speed(
      of: model, engine: engine, flopsPerToken: model.forwardFlopsPerToken,
      tokensPerStep: training.lanes * training.segment, stepCount: totalCount,
      warmupStepCount: Self.warmupBlockCount, progress: progress
    ) { block in
      try tokens.read(block..<block + 1, of: data)
      let segment = tokens.segment(block, firstTime: 0, key: RandomKey(seed: 0))
      let scores = scorer.score(
        inputs: segment.inputs, targets: segment.targets, rowCount: segment.inputs.count)
      return scores.elements.reduce(0, +) / Double(scores.count)
    }
  }
}

/// The measured speed of a model, over all ranks.
package struct ModelSpeed: Encodable, Sendable {
  /// Tokens/s over all ranks, by the median step; of scoring, by the median block.
  package let tokensPerSecond: Double
  /// The median step.
  package let secondsPerStep: Double
  /// Peak memory of the largest rank, in megabytes.
  package let peakMegabytes: Double
  /// FLOPs of the matrix products per token.
  package let flopsPerToken: Int
  /// Peak of the ranks' matrix products by themselves, in GFLOP/s.
  package let peakGigaflops: Double
  /// Fraction of that peak that the whole step reaches.
  package let peakShare: Double
  /// Precision of the operands of matrix products.
  package let precision: String
  /// Threads per rank.
  package let threads: Int
  /// Lanes over all ranks.
  package let lanes: Int
  /// T.
  package let segment: Int
  package let parameters: Int
  /// V.
  package let vocabulary: Int
  package let ranks: Int
  /// The library of matrix products.
  package let engine: String
  /// The instruction set that the library uses.
  package let cpuLevel: String
  /// Timed steps.
  package let steps: Int
  /// The loss of the first step, in nats per token.
  package let firstLoss: Double
  /// The loss of the last step, in nats per token.
  package let lastLoss: Double
}

extension Benchmark {
  /// Times steps after those of the warm-up and combines the times of all ranks, which all call it and get the same.
  ///
  /// `run` takes the number of a step, from 0, and returns its loss; `progress` gets the steps done and their total.
  fileprivate func speed(
    of model: LanguageModel, engine: ComputeEngine, flopsPerToken: Int, tokensPerStep: Int,
    stepCount: Int, warmupStepCount: Int, progress: (_ done: Int, _ total: Int) -> Void,
    run: (Int) throws -> Double
  ) throws -> ModelSpeed {
    var stepSeconds: [Double] = []
    var losses: [Double] = []
    for index in 0..<stepCount {
      let start = ContinuousClock.now
      losses.append(try run(index))
      stepSeconds.append((ContinuousClock.now - start).inSeconds)
      progress(index + 1, stepCount)
    }
    let timedSeconds = Array(stepSeconds.dropFirst(warmupStepCount))
    let training = configuration.training
    // Measured before the peak of products, which allocates memory of its own.
    let megabytes = try ranks.control.maximum("memory", UInt64(Host.peakByteCount) / 1_000_000)
    let seconds = try ranks.control.sum("step time", [timedSeconds.median])[0] / Double(ranks.rankCount)
    let peak = try ranks.control.sum("peak", [ProductBenchmark.peakGigaflops(engine)])[0]
    let tokensPerSecond = Double(tokensPerStep) / seconds
    return ModelSpeed(
      tokensPerSecond: tokensPerSecond, secondsPerStep: seconds, peakMegabytes: Double(megabytes),
      flopsPerToken: flopsPerToken, peakGigaflops: peak,
      peakShare: tokensPerSecond * Double(flopsPerToken) / 1e9 / peak, precision: engine.precision.rawValue,
      threads: engine.threadCount, lanes: training.lanes, segment: training.segment,
      parameters: model.parameters.parameterCount, vocabulary: model.vocabularySize,
      ranks: ranks.rankCount, engine: engine.name, cpuLevel: engine.cpuLevel, steps: timedSeconds.count,
      firstLoss: losses[0], lastLoss: losses[losses.count - 1])
  }
}
