import Communication
import LanguageModel
import Platform
import Tensors
import Training

/// What running a model took, all ranks together.
package struct ModelSpeed: Encodable, Sendable {
  /// Words of all ranks a second, by the median step; scoring takes blocks for steps.
  package let tokensPerSecond: Double
  /// The median step.
  package let secondsPerStep: Double
  /// The largest memory of a rank, in megabytes.
  package let peakMegabytes: Double
  /// Floating-point operations of the matrix products of a token.
  package let flopsPerToken: Int
  /// What the ranks' matrix products reach by themselves, in GFLOP/s.
  package let peakGigaflops: Double
  /// Which share of that the whole step reaches.
  package let peakShare: Double
  /// What operands of products are rounded to.
  package let precision: String
  /// Threads a rank.
  package let threads: Int
  /// Lanes of all ranks.
  package let lanes: Int
  /// T.
  package let segment: Int
  /// Numbers that the model has.
  package let parameters: Int
  /// V.
  package let vocabulary: Int
  /// How many ranks.
  package let ranks: Int
  /// The library that multiplies.
  package let engine: String
  /// The instruction set that it has chosen.
  package let cpuLevel: String
  /// Steps that were timed.
  package let steps: Int
  /// The loss of the first step, in nats a token.
  package let firstLoss: Double
  /// The loss of the last step, in nats a token.
  package let lastLoss: Double
}

extension Benchmark {
  /// Puts together what every rank has timed; all ranks call it and get the same.
  func speed(
    of model: LanguageModel, engine: ComputeEngine, flopsPerToken: Int, tokensPerStep: Int,
    timedSeconds: [Double],
    losses: [Double]
  ) throws -> ModelSpeed {
    let training = configuration.training
    // The products' peak takes memory of its own, so it comes after.
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
