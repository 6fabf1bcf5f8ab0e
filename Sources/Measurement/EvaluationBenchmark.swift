import Communication
import LanguageModel
import Layers
import Platform
import Reporting
import Tensors
import Training

/// What scoring takes, forward alone: blocks of lanes × segment words, the losses of all.
package struct EvaluationBenchmark {
  private static let warmupBlockCount = 2

  private let benchmark: Benchmark
  private let blockCount: Int

  /// A benchmark of `blockCount` timed blocks.
  package init(_ benchmark: Benchmark, blockCount: Int) {
    self.benchmark = benchmark
    self.blockCount = blockCount
  }

  /// Scores the blocks with new weights.
  ///
  /// `progress` hears of blocks done and in all.
  package func run(progress: (_ done: Int, _ total: Int) -> Void = { _, _ in }) throws -> ModelSpeed {
    let training = benchmark.configuration.training
    let totalCount = blockCount + Self.warmupBlockCount
    let engine = try training.engine(benchmark.ranks)
    let text = try benchmark.text(tokenCount: training.lanes * training.segment * totalCount + training.lanes)
    let data = try TrainingData(
      text.tokens, endOfSentenceID: text.endOfSentenceID, configuration: benchmark.configuration,
      ranks: benchmark.ranks)
    let model = LanguageModel(benchmark.configuration.model, vocabularySize: text.identity.vocabularySize)
    let weights = ParameterBuffer(model.parameters)
    weights.initialize(seed: UInt64(training.seed), engine: engine)
    let scorer = Scorer(
      model, parameters: weights, stepCount: training.segment, streamCount: data.ownLanes.count,
      engine: engine)

    var seconds: [Double] = []
    var losses: [Double] = []
    for block in 0..<totalCount {
      let clock = ContinuousClock()
      let start = clock.now
      let segment = data.segment(block, firstTime: 0, key: RandomKey(seed: 0))
      let scores = scorer.score(
        inputs: segment.inputs, targets: segment.targets, rowCount: segment.inputs.count)
      losses.append(scores.elements.reduce(0, +) / Double(scores.count))
      seconds.append((clock.now - start).inSeconds)
      progress(block + 1, totalCount)
    }
    return try benchmark.speed(
      of: model, engine: engine, flopsPerToken: 2 * model.multiplicationsPerToken,
      tokensPerStep: training.lanes * training.segment,
      timedSeconds: Array(seconds.dropFirst(Self.warmupBlockCount)), losses: losses)
  }
}
