import Communication
import LanguageModel
import Tensors
import Training

/// What running a model took, all ranks together.
public struct ModelSpeed: Encodable, Sendable {
  /// Words of all ranks a second, by the median step; scoring takes blocks for steps.
  public let tokensPerSecond: Double
  /// The median step.
  public let secondsPerStep: Double
  /// The largest memory of a rank, in megabytes.
  public let peakMegabytes: Double
  /// Floating-point operations of the matrix products of a token.
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

extension Benchmark {
  /// Puts together what every rank has timed; all ranks call it and get the same.
  func speed(
    of model: LanguageModel, engine: ComputeEngine, flopsPerToken: Int, tokensPerStep: Int,
    timedSeconds: [Double],
    losses: [Double]
  ) throws -> ModelSpeed {
    let training = configuration.training
    // The products' peak takes memory of its own, so it comes after.
    let megabytes = try ranks.control.maximum("memory", UInt64(Self.peakMegabytes))
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
