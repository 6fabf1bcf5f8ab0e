import Communication
import Foundation
import LanguageModel
import Layers
import Platform
import Reporting
import Tensors
import Training

/// What a step of a configuration costs on this machine, for a number of ranks that need not be here.
///
/// The ranks that run it are as those of one host will be: each with the lanes that a rank of the planned job has. Long
/// segments are not taken whole: two short ones say what a step costs and what a word of it.
package struct PlanProbe {
  /// Everything measured, on rank 0.
  package struct Result: Sendable {
    /// Seconds of forward and backward pass of a planned step.
    package let computeSeconds: Double
    /// Seconds of norm and optimizer, of a rank that has all words.
    package let updateSeconds: Double
    /// Seconds of it that are for words.
    package let updateSecondsOfWords: Double
    /// Exchanges of a planned step for which all ranks wait, where the vocabulary is shared out; else 0.
    package let sharingOperationCount: Int
    /// The ranges of the gradient in the order in which they are ready: number, and at which share of the computing.
    package let ready: [(range: Int, share: Double)]
    /// What each allowed codec costs on each range, on gradients of the first steps.
    package let codecs: [CodecMeasurement]
    /// Numbers of the rows of the tied matrix that a planned step of a rank touches.
    package let rowElementCount: Double
    /// The link between the hosts that took part; nil where it was one.
    package let link: LinkMeasurement?
    /// Whether the communication thread has a core that no compute thread wants.
    package let hasSpareCore: Bool
    /// Library, version, instruction set, precision and threads.
    package let engine: String
    /// Numbers in the model.
    package let parameterCount: Int
    /// Words of a planned step of a rank.
    package let tokenCountPerRank: Int
    /// Bytes that a planned rank takes, as an estimate.
    package let byteCountPerRank: Int
    /// The same of rank 0, which has a copy to write and to evaluate.
    package let coordinatorByteCount: Int
  }

  /// Words of a rank's step that are enough to tell from.
  private static let wordLimit = 1024
  private static let timedStepCount = 3

  private let benchmark: Benchmark
  private let rankCount: Int
  private let laneCountPerRank: Int
  /// Whether the planned job shards the vocabulary.
  private let isSharded: Bool

  /// A probe for a job of `rankCount` ranks.
  package init(_ benchmark: Benchmark, rankCount: Int) throws {
    self.benchmark = benchmark
    self.rankCount = rankCount
    let share = try LaneShare(benchmark.configuration, rankCount: rankCount)
    laneCountPerRank = share.laneCountPerRank
    isSharded = try VocabularyLayout(
      benchmark.configuration.exchange.vocabulary, trainingRanks: share.trainingRanks
    ).isSharded
  }

  /// Measures; all ranks call it.
  package func run() throws -> Result {
    let configuration = benchmark.configuration
    let segment = configuration.training.segment
    let long = min(segment, max(4, Self.wordLimit / laneCountPerRank))
    let whole = try measure(segment: long)
    var compute = whole.computeSeconds
    var rows = whole.rowElementCount
    if long < segment {
      let half = try measure(segment: long / 2)
      let slope = (whole.computeSeconds - half.computeSeconds) / Double(long - long / 2)
      compute += slope * Double(segment - long)
      // Distinct words grow slower than words: by the power that the two segments show.
      let power = log(whole.rowElementCount / half.rowElementCount) / log(Double(long) / Double(long / 2))
      rows *= pow(Double(segment) / Double(long), power)
    }
    let accumulate = configuration.training.accumulate
    let size = whole.vocabularySize
    func need(_ rank: Int) throws -> Int {
      try MemoryNeed(
        configuration, vocabularySize: size, rank: rank, rankCount: rankCount, rankCountOnHost: 1
      ).byteCount
    }
    let chunks = whole.chunkCountPerRow * Double(laneCountPerRank * segment)
    return Result(
      computeSeconds: compute * Double(accumulate), updateSeconds: whole.updateSeconds,
      updateSecondsOfWords: whole.updateSecondsOfWords,
      // Looked-up rows, z, its gradient and each chunk's sums, there and back, in a segment; the rows' gradients once.
      sharingOperationCount: isSharded ? accumulate * (3 + 2 * Int(chunks.rounded(.up))) + 1 : 0,
      ready: whole.ready,
      codecs: whole.codecs, rowElementCount: rows, link: whole.link, hasSpareCore: whole.hasSpareCore,
      engine: whole.engine, parameterCount: whole.parameterCount,
      tokenCountPerRank: laneCountPerRank * segment * accumulate, byteCountPerRank: try need(rankCount - 1),
      coordinatorByteCount: try need(Ranks.coordinator))
  }

  private struct Measurement {
    var computeSeconds = 0.0
    var updateSeconds = 0.0
    var updateSecondsOfWords = 0.0
    var chunkCountPerRow = 0.0
    var ready: [(range: Int, share: Double)] = []
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
    configuration.exchange.codec = Codec.none
    let engine = try configuration.training.engine(ranks)
    let stepCount = 2 * Self.timedStepCount + 4
    let text = try ranks.onAllRanks("open the text") {
      try benchmark.text(tokenCount: configuration.tokensPerStep * stepCount + configuration.training.lanes)
    }
    let data = try TrainingData(
      text.tokens, endOfSentenceID: text.endOfSentenceID, configuration: configuration, ranks: ranks)
    let state = try TrainingState(
      configuration, text: text.identity, ranks: ranks, engine: engine, thread: CommunicationThread())
    let timer = StepTimer(state, data: data)
    state.exchange.choose(.lossless)

    var result = Measurement()
    for _ in 0..<3 { result.updateSeconds = max(0, try timer.update()) }
    let (model, shard) = (state.model, state.shard)
    let wordCount = model.parameters.parameters.reduce(0) { $0 + ($1.elementsPerWord == nil ? 0 : $1.count) }
    let perElement = result.updateSeconds / Double(shard.common.count + shard.ownedCount)
    if configuration.exchange.vocabulary == .sharded {
      result.updateSecondsOfWords = perElement * Double(wordCount)
      result.updateSeconds = perElement * Double(shard.common.count + wordCount)
    }
    // As shards count their budget, whatever the precision.
    let rowByteCount = model.vocabularySize * Precision.bfloat16.byteCount
    result.chunkCountPerRow = Double(rowByteCount) / Double(SegmentPass.defaultLogitsByteBudget)
    let timing = state.exchange.timing
    result.ready = timing.submitted.map { ($0.range, $0.seconds / timing.finishSeconds) }
    result.computeSeconds = try (0..<Self.timedStepCount).map { _ in try timer.compute() }.median
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
