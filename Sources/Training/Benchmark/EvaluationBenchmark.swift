import LanguageModel
import Layers
import Tensors

/// What scoring takes, forward alone: blocks of lanes × segment words, the losses of all.
public struct EvaluationBenchmark {
  /// What was measured on this rank.
  public struct Result: Encodable, Sendable {
    /// Words a second, by the median block.
    public let tokensPerSecond: Double
    /// The median block.
    public let secondsPerBlock: Double
    /// The largest memory of the process, in megabytes.
    public let peakMegabytes: Double
    /// Floating-point operations of the matrix products of a token.
    public let flopsPerToken: Int
    /// What the engine's matrix products reach by themselves, in GFLOP/s.
    public let peakGigaflops: Double
    /// Which share of that scoring reaches.
    public let peakShare: Double
    /// What operands of products are rounded to.
    public let precision: String
    /// Compute threads.
    public let threads: Int
    /// Streams.
    public let lanes: Int
    /// Steps in a block.
    public let segment: Int
    /// Numbers that the model has.
    public let parameters: Int
    /// V.
    public let vocabulary: Int
    /// The library that multiplies.
    public let engine: String
    /// The instruction set that it has chosen.
    public let cpuLevel: String
    /// The mean negative log-likelihood in nats a token.
    public let loss: Double
  }

  private static let warmupBlockCount = 2

  private let benchmark: Benchmark
  private let blockCount: Int

  /// A benchmark of `blockCount` timed blocks.
  public init(_ benchmark: Benchmark, blockCount: Int) {
    self.benchmark = benchmark
    self.blockCount = blockCount
  }

  /// Scores the blocks with new weights.
  ///
  /// `progress` hears of blocks done and in all.
  public func run(progress: (_ done: Int, _ total: Int) -> Void = { _, _ in }) throws -> Result {
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
    var loss = 0.0
    for block in 0..<totalCount {
      let clock = ContinuousClock()
      let start = clock.now
      let segment = data.segment(block, firstTime: 0, key: RandomKey(seed: 0))
      let losses = scorer.score(
        inputs: segment.inputs, targets: segment.targets, rows: 0..<segment.inputs.count)
      loss += losses.elements.reduce(0, +)
      seconds.append((clock.now - start).inSeconds)
      progress(block + 1, totalCount)
    }
    let tokenCount = data.ownLanes.count * training.segment
    let secondsPerBlock = seconds.dropFirst(Self.warmupBlockCount).median
    let tokensPerSecond = Double(tokenCount) / secondsPerBlock
    let peakMegabytes = Benchmark.peakMegabytes
    let peak = ProductBenchmark.peakGigaflops(engine)
    let flopsPerToken = 2 * model.multiplicationsPerToken
    return Result(
      tokensPerSecond: tokensPerSecond, secondsPerBlock: secondsPerBlock, peakMegabytes: peakMegabytes,
      flopsPerToken: flopsPerToken, peakGigaflops: peak,
      peakShare: tokensPerSecond * Double(flopsPerToken) / 1e9 / peak, precision: engine.precision.rawValue,
      threads: engine.threadCount, lanes: training.lanes, segment: training.segment,
      parameters: model.parameters.parameterCount, vocabulary: model.vocabularySize, engine: engine.name,
      cpuLevel: engine.cpuLevel, loss: loss / Double(tokenCount * totalCount))
  }
}
