import Communication
import Foundation
import Platform
import Reporting
import Training

/// What a step of training takes: the whole of it, from the words to the updated parameters.
package struct StepBenchmark {
  /// Steps before the timed ones: memory is touched, primitives are made.
  private static let warmupStepCount = 3

  private let benchmark: Benchmark
  private let stepCount: Int

  /// A benchmark of `stepCount` timed steps.
  package init(_ benchmark: Benchmark, stepCount: Int) {
    self.benchmark = benchmark
    self.stepCount = stepCount
  }

  /// Takes the steps; all ranks call it and get the same figures.
  ///
  /// `progress` hears of steps done and in all.
  package func run(progress: (_ done: Int, _ total: Int) -> Void = { _, _ in }) throws -> ModelSpeed {
    let ranks = benchmark.ranks
    let training = benchmark.configuration.training
    let totalCount = stepCount + Self.warmupStepCount
    let engine = try training.engine(ranks)
    let text = try ranks.onAllRanks("open the text") {
      try benchmark.text(
        tokenCount: benchmark.configuration.tokensPerStep * totalCount + training.lanes)
    }
    let data = try TrainingData(
      text.tokens, endOfSentenceID: text.endOfSentenceID, configuration: benchmark.configuration, ranks: ranks
    )
    let state = try TrainingState(
      benchmark.configuration, text: text.identity, ranks: ranks, engine: engine,
      thread: CommunicationThread())
    let step = Step(state, data: data)

    var seconds: [Double] = []
    var losses: [Double] = []
    for index in 0..<totalCount {
      let clock = ContinuousClock()
      let start = clock.now
      losses.append(try step.run().loss / Double(benchmark.configuration.tokensPerStep))
      seconds.append((clock.now - start).inSeconds)
      progress(index + 1, totalCount)
    }
    return try benchmark.speed(
      of: state.model, engine: engine, flopsPerToken: 6 * state.model.multiplicationsPerToken,
      tokensPerStep: benchmark.configuration.tokensPerStep,
      timedSeconds: Array(seconds.dropFirst(Self.warmupStepCount)), losses: losses)
  }
}
