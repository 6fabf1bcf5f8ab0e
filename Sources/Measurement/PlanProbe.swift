import Communication
import Foundation
import LanguageModel
import Layers
import Platform
import Reporting
import Tensors
import Training

/// Measures the costs of a step on this machine for a planned number of ranks.
///
/// Each rank that runs it has the lanes of a rank of the planned job. Long segments are extrapolated from two short ones.
package struct PlanProbe {
  /// All measurements, on rank 0.
  package struct Result: Sendable {
    /// Seconds of forward and backward pass of a planned step.
    package let computeSeconds: Double
    /// How far apart the times of a pass were: the longest less the shortest, divided by the median.
    package let computeSpread: Double
    /// Processors of the busiest host that other programs used meanwhile, and the processors of a host.
    package let load: (other: Double, processors: Int)
    /// Seconds of norm and optimizer on a rank that has all vocabulary rows.
    package let updateSeconds: Double
    /// The exchange of the gradient.
    package let exchange: ExchangeModel
    /// The ranges of the gradient in the order in which they are ready: number, and at which fraction of the compute.
    package let ready: [(range: Int, fraction: Double)]
    /// The numbers of the ranges of the tied matrix.
    package let tiedRanges: [Int]
    /// A sharded vocabulary.
    package let sharding: ShardingCosts
    /// Costs of each allowed codec on each range, with gradients of the first steps.
    package let codecs: [CodecMeasurement]
    /// Elements of the rows of the tied matrix that a rank's tokens touch in a planned step.
    package let rowElementCount: Double
    /// The link between the hosts of this job; nil for one host.
    package let link: LinkMeasurement?
    /// Whether the communication thread has a core that no compute thread uses.
    package let hasSpareCore: Bool
    /// Library, version, instruction set, precision and threads of matrix products.
    package let engine: String
    /// Parameters of the model.
    package let parameterCount: Int
    /// Tokens per planned step on one rank.
    package let tokenCountPerRank: Int

    /// The same as costs for any number of ranks.
    package var costs: StepCosts {
      StepCosts(
        computeSeconds: computeSeconds, updateSeconds: updateSeconds, exchange: exchange, ready: ready,
        tiedRanges: tiedRanges, codecs: codecs, rowElementCount: rowElementCount,
        tokenCount: tokenCountPerRank, sharding: sharding)
    }
  }

  /// Tokens per step and rank from which longer segments are extrapolated.
  private static let tokenLimit = 1024
  private static let timedStepCount = 3
  /// Passes are timed again, up to so many rounds, while their times are farther apart than `toleratedSpread`.
  private static let maximumRoundCount = 3
  package static let toleratedSpread = 0.15

  private let benchmark: Benchmark
  private let laneCountPerRank: Int
  /// Whether the measured steps shard the vocabulary over all ranks; other placements follow from the replicated matrix.
  private let isSharded: Bool

  /// A probe for a job of `rankCount` ranks.
  package init(_ benchmark: Benchmark, rankCount: Int) throws {
    self.benchmark = benchmark
    laneCountPerRank = try LaneLayout(benchmark.configuration, rankCount: rankCount).laneCountPerRank
    isSharded = benchmark.configuration.exchange.vocabulary == .sharded
  }

  /// Measures on all ranks.
  package func run() throws -> Result {
    let configuration = benchmark.configuration
    let load = HostLoad()
    let segment = configuration.training.segment
    let long = min(segment, max(4, Self.tokenLimit / laneCountPerRank))
    let whole = try measure(segment: long)
    var compute = whole.computeSeconds
    var rows = whole.rowElementCount
    var spread = whole.computeSpread
    if long < segment {
      let half = try measure(segment: long / 2)
      let slope = (whole.computeSeconds - half.computeSeconds) / Double(long - long / 2)
      compute += slope * Double(segment - long)
      spread = max(spread, half.computeSpread)
      // Distinct tokens grow more slowly than tokens: with the power that the two segments show.
      let power = log(whole.rowElementCount / half.rowElementCount) / log(Double(long) / Double(long / 2))
      rows *= pow(Double(segment) / Double(long), power)
    }
    let accumulate = configuration.training.accumulate
    let size = whole.vocabularySize
    let others = try load.otherProcessors(over: benchmark.ranks.control)
    return Result(
      computeSeconds: compute * Double(accumulate), computeSpread: spread,
      load: (others.max() ?? 0, Host.processorCount), updateSeconds: whole.updateSeconds,
      exchange: whole.exchange, ready: whole.ready, tiedRanges: whole.tiedRanges,
      sharding: ShardingCosts(
        model: LanguageModel(configuration.model, vocabularySize: size),
        rowCount: laneCountPerRank * segment, accumulation: accumulate,
        updateSeconds: whole.vocabularyUpdateSeconds),
      codecs: whole.codecs, rowElementCount: rows, link: whole.link, hasSpareCore: whole.hasSpareCore,
      engine: whole.engine, parameterCount: whole.parameterCount,
      tokenCountPerRank: laneCountPerRank * segment * accumulate)
  }

  private struct Measurement {
    var exchange: ExchangeModel
    var tiedRanges: [Int] = []
    var computeSeconds = 0.0
    var computeSpread = 0.0
    var updateSeconds = 0.0
    var vocabularyUpdateSeconds = 0.0
    var ready: [(range: Int, fraction: Double)] = []
    var codecs: [CodecMeasurement] = []
    var rowElementCount = 0.0
    var link: LinkMeasurement?
    var hasSpareCore = false
    var engine = ""
    var parameterCount = 0
    var vocabularySize = 0
  }

  private func measure(segment: Int) throws -> Measurement {
    let ranks = benchmark.ranks
    var configuration = benchmark.configuration
    configuration.training.segment = segment
    configuration.training.lanes = laneCountPerRank * ranks.rankCount
    configuration.training.accumulate = 1
    configuration.coordinator.placement = .worker
    configuration.exchange.vocabulary = isSharded ? .sharded : .replicated
    let codecs = configuration.exchange.candidates(for: configuration.optimizer)
    configuration.exchange.codec = Codec.uncompressed
    let engine = try configuration.training.engine(ranks)
    let stepCount = (Self.maximumRoundCount + 1) * Self.timedStepCount + 4
    let text = try ranks.onAllRanks("open the text") {
      try benchmark.text(tokenCount: configuration.tokensPerStep * stepCount + configuration.training.lanes)
    }
    let data = try TrainingData(
      text.tokens, endOfSentenceID: text.endOfSentenceID, configuration: configuration, ranks: ranks)
    let state = try TrainingState(
      configuration, text: text.identity, ranks: ranks, engine: engine, thread: CommunicationThread())
    let timer = StepTimer(state, data: data)
    state.choose(.lossless)

    var result = Measurement(exchange: state.exchange.model)
    for _ in 0..<3 { result.updateSeconds = max(0, try timer.update()) }
    let (model, shard) = (state.model, state.shard)
    let vocabularyElementCount = model.parameters.parameters.reduce(0) {
      $0 + ($1.elementsPerToken == nil ? 0 : $1.count)
    }
    let perElement = result.updateSeconds / Double(shard.common.count + shard.ownedCount)
    result.vocabularyUpdateSeconds = perElement * Double(vocabularyElementCount)
    if !shard.isCommon(model.tiedMatrix) {
      result.updateSeconds = perElement * Double(shard.common.count + vocabularyElementCount)
    }
    let tied = model.tiedMatrix.range
    result.tiedRanges = model.gradientRanges.filter { shard.common.contains($0.range.lowerBound) }
      .indices(where: { tied.contains($0.range.lowerBound) }).ranges.flatMap { $0 }
    let timing = state.exchange.timing
    result.ready = timing.submitted.map { ($0.range, $0.seconds / timing.finishSeconds) }
    var seconds: [Double] = []
    repeat {
      seconds += try (0..<Self.timedStepCount).map { _ in try timer.compute() }
      let own = ((seconds.max() ?? 0) - (seconds.min() ?? 0)) / max(seconds.median, 1e-9)
      result.computeSpread =
        1e-6 * Double(try ranks.control.maximum("spread of times", UInt64(min(own, 1e6) * 1e6)))
    } while result.computeSpread > Self.toleratedSpread
      && seconds.count < Self.maximumRoundCount * Self.timedStepCount
    result.computeSeconds = seconds.median
    result.rowElementCount = Double(timer.lastRowElementCount)
    result.link = try state.exchange.measureLink()
    result.codecs = try state.exchange.measure(
      codecs, on: state.common(timer.gradients))
    result.hasSpareCore = state.hasSpareCore
    result.engine = engine.summary
    result.parameterCount = state.model.parameters.parameterCount
    result.vocabularySize = state.model.vocabularySize
    return result
  }
}
