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
    /// The costs of a planned step, for any number of ranks.
    package internal(set) var costs: StepCosts
    /// The model whose steps were measured.
    package let model: LanguageModel
    /// The link between the hosts of this job; nil for one host.
    package let link: LinkMeasurement?
    /// Whether the communication thread has a core that no compute thread uses.
    package let hasSpareCore: Bool
    /// Library, version, instruction set, precision and threads of matrix products.
    package let engine: String
    /// How far apart the times of a pass were: the longest less the shortest, divided by the median.
    package internal(set) var computeSpread: Double
    /// Processors of the busiest host that other programs used meanwhile.
    package internal(set) var otherLoad = 0.0
  }

  /// Tokens per step and rank from which longer segments are extrapolated.
  private static let tokenLimit = 1024
  private static let timedStepCount = 3
  /// Passes are timed again, up to this many rounds, while their times are farther apart than `toleratedSpread`.
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
    let training = benchmark.configuration.training
    let load = HostLoad()
    let segment = training.segment
    let long = min(segment, max(4, Self.tokenLimit / laneCountPerRank))
    var result = try measure(segment: long)
    if long < segment {
      let shorter = try measure(segment: long / 2)
      let (half, whole) = (shorter.costs, result.costs)
      result.computeSpread = max(result.computeSpread, shorter.computeSpread)
      let slope = (whole.computeSeconds - half.computeSeconds) / Double(long - long / 2)
      result.costs.computeSeconds += slope * Double(segment - long)
      // Distinct tokens grow more slowly than tokens: with the power that the two segments show.
      let power = log(whole.rowElementCount / half.rowElementCount) / log(Double(long) / Double(long / 2))
      result.costs.rowElementCount *= pow(Double(segment) / Double(long), power)
    }
    result.costs.computeSeconds *= Double(training.accumulate)
    result.costs.tokenCount = laneCountPerRank * segment * training.accumulate
    result.costs.sharding.rowCount = laneCountPerRank * segment
    result.costs.sharding.accumulation = training.accumulate
    result.otherLoad = try load.otherProcessors(over: benchmark.ranks.control).max() ?? 0
    return result
  }

  /// The costs of a step of one segment.
  private func measure(segment: Int) throws -> Result {
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
    try benchmark.checkMemory(configuration)
    let stepCount = (Self.maximumRoundCount + 1) * Self.timedStepCount + 4
    let text = try ranks.onAllRanks("open the text") {
      try benchmark.text(tokenCount: configuration.tokensPerStep * stepCount + configuration.training.lanes)
    }
    let data = try TrainingData(
      text.tokens, endOfSentenceID: text.endOfSentenceID, configuration: configuration, ranks: ranks)
    let state = try TrainingState(
      configuration, text: text.identity, ranks: ranks, engine: engine, thread: try CommunicationThread())
    let timer = StepTimer(state, data: data)
    state.choose(.lossless)

    var updateSeconds = 0.0
    for _ in 0..<3 { updateSeconds = max(0, try timer.update()) }
    let (model, shard) = (state.model, state.shard)
    let vocabularyElementCount = model.parameters.parameters.reduce(0) {
      $0 + ($1.elementsPerToken == nil ? 0 : $1.count)
    }
    let perElement = updateSeconds / Double(shard.common.count + shard.ownedCount)
    if !shard.isCommon(model.tiedMatrix) {
      updateSeconds = perElement * Double(shard.common.count + vocabularyElementCount)
    }
    let tied = model.tiedMatrix.range
    let tiedRanges = model.gradientRanges.filter { shard.common.contains($0.range.lowerBound) }
      .indices(where: { tied.contains($0.range.lowerBound) }).ranges.flatMap { $0 }
    let timing = state.exchange.timing
    let (computeSeconds, computeSpread) = try compute(timer)
    let link = try state.exchange.measureLink()
    let costs = StepCosts(
      computeSeconds: computeSeconds, updateSeconds: updateSeconds, exchange: state.exchange.model,
      ready: timing.submitted.map { ($0.range, $0.seconds / timing.finishSeconds) }, tiedRanges: tiedRanges,
      codecs: try state.exchange.measure(codecs, on: state.common(timer.gradients)),
      rowElementCount: Double(timer.lastRowElementCount), tokenCount: laneCountPerRank * segment,
      sharding: ShardingCosts(
        model: model, rowCount: laneCountPerRank * segment, accumulation: 1,
        updateSeconds: perElement * Double(vocabularyElementCount)))
    return Result(
      costs: costs, model: model, link: link, hasSpareCore: state.hasSpareCore, engine: engine.summary,
      computeSpread: computeSpread)
  }

  /// The median time of a pass on this rank, and how far apart times were on the rank where they differed most.
  private func compute(_ timer: StepTimer) throws -> (seconds: Double, spread: Double) {
    var seconds: [Double] = []
    var spread = 0.0
    repeat {
      seconds += try (0..<Self.timedStepCount).map { _ in try timer.compute() }
      let own = ((seconds.max() ?? 0) - (seconds.min() ?? 0)) / max(seconds.median, 1e-9)
      spread =
        1e-6 * Double(try benchmark.ranks.control.maximum("spread of times", UInt64(min(own, 1e6) * 1e6)))
    } while spread > Self.toleratedSpread && seconds.count < Self.maximumRoundCount * Self.timedStepCount
    return (seconds.median, spread)
  }
}
