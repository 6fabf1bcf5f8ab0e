import Checkpoints
import Communication
import Evaluation
import Foundation
import LanguageModel
import Layers
import Platform
import Reporting
import Tensors
import Training

/// Speed and gradient error of `training.softmaxThreshold`, by token frequency.
package struct FilterBenchmark {
  /// The result of one threshold.
  package struct Row: Encodable, Sendable {
    /// Blocks of the vocabulary whose probabilities are all below it are approximated; 0 for none.
    package let threshold: Double
    /// Tokens/s of whole steps, by the median.
    package let tokensPerSecond: Double
    /// √(Σ error² ÷ Σ exact²) of the gradient of all parameters but the tied matrix.
    package let errorOfOthers: Double
    /// The same for the tied matrix by frequency rank: up to 1,000, 10,000, 100,000, and the rest.
    package let errorByRank: [Double]
  }

  /// All thresholds on the same tokens.
  package struct Result: Encodable, Sendable {
    /// The step of the checkpoint.
    package let step: Int
    package let lanes: Int
    /// T.
    package let segment: Int
    /// Compute threads.
    package let threads: Int
    /// Precision of the operands of matrix products.
    package let precision: String
    /// The loss in nats per token, the same for every threshold.
    package let loss: Double
    /// A row for each threshold.
    package let rows: [Row]
  }

  /// The upper limits of the classes, by frequency rank.
  private static let rankLimits = [1_000, 10_000, 100_000, Int.max]

  private let benchmark: Benchmark
  private let checkpoint: Checkpoint
  private let stepCount: Int

  /// A benchmark of a trained model, `stepCount` timed steps for each threshold.
  package init(_ benchmark: Benchmark, checkpoint: Checkpoint, stepCount: Int) {
    self.benchmark = benchmark
    self.checkpoint = checkpoint
    self.stepCount = stepCount
  }

  /// Measures the thresholds one after the other, 0 first.
  ///
  /// `progress` gets the thresholds done and their total.
  package func run(
    thresholds: [Double], progress: (_ done: Int, _ total: Int) -> Void = { _, _ in }
  ) throws -> Result {
    try benchmark.checkMemory(benchmark.configuration)
    let loaded = try LoadedModel(checkpoint, configuration: benchmark.configuration.model)
    let exact = ParameterBuffer(loaded.model.parameters)
    var rows: [Row] = []
    var loss = 0.0
    var engine: ComputeEngine?
    for (index, threshold) in ([0] + thresholds).enumerated() {
      let found = try measure(threshold, loaded, exact: exact)
      rows.append(found.row)
      loss = found.loss
      engine = found.engine
      progress(index + 1, thresholds.count + 1)
    }
    let training = benchmark.configuration.training
    return Result(
      step: checkpoint.state.step, lanes: training.lanes, segment: training.segment,
      threads: engine?.threadCount ?? 0, precision: engine?.precision.rawValue ?? "", loss: loss, rows: rows)
  }

  /// The first threshold, 0, stores its gradient in `exact`.
  private func measure(
    _ threshold: Double, _ loaded: LoadedModel, exact: ParameterBuffer
  ) throws -> (row: Row, loss: Double, engine: ComputeEngine) {
    var configuration = benchmark.configuration
    configuration.training.softmaxThreshold = threshold
    let engine = try configuration.training.engine(benchmark.ranks)
    let text = try benchmark.text(tokenCount: 0)
    let data = try TrainingData(
      text.tokens, endOfSentenceID: text.endOfSentenceID, configuration: configuration, ranks: benchmark.ranks
    )
    let state = try TrainingState(
      configuration, text: text.identity, ranks: benchmark.ranks, engine: engine,
      thread: try CommunicationThread())
    state.parameters.copy(from: loaded.weights, engine: engine)
    let step = Step(state, data: data)
    step.beginWithoutExchange()
    let loss = try step.forwardBackward(sink: nil)
    if threshold == 0 { exact.copy(from: step.gradients, engine: engine) }
    let errorOfOthers = error(
      step.gradients, exact, state.model.tiedMatrix.range.upperBound..<exact.flat.columnCount)
    let errorByRank = ranges(state.model).map { error(step.gradients, exact, $0) }
    let tokensPerStep = Double(configuration.tokensPerStep)
    let row = Row(
      threshold: threshold, tokensPerSecond: try tokensPerStep / secondsPerStep(step),
      errorOfOthers: errorOfOthers, errorByRank: errorByRank)
    return (row, loss / tokensPerStep, engine)
  }

  private func secondsPerStep(_ step: Step) throws -> Double {
    let seconds = try (0...stepCount).map { _ in
      let clock = ContinuousClock()
      let start = clock.now
      _ = try step.run()
      return (clock.now - start).inSeconds
    }
    return seconds.dropFirst().median
  }

  /// The elements of the tied matrix of each frequency class.
  private func ranges(_ model: LanguageModel) -> [Range<Int>] {
    let matrix = model.tiedMatrix
    var first = 0
    return Self.rankLimits.map { limit in
      let end = min(limit, matrix.rowCount)
      defer { first = end }
      return matrix.offset + min(first, end) * matrix.columnCount..<matrix.offset + end * matrix.columnCount
    }
  }

  private func error(_ found: ParameterBuffer, _ exact: ParameterBuffer, _ range: Range<Int>) -> Double {
    var (difference, size) = (0.0, 0.0)
    for index in range {
      let expected = Double(exact.flat[0, index])
      difference += (Double(found.flat[0, index]) - expected) * (Double(found.flat[0, index]) - expected)
      size += expected * expected
    }
    return size > 0 ? (difference / size).squareRoot() : 0
  }
}
