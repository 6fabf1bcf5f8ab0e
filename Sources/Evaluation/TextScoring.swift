import Corpus
import LanguageModel
import Layers
import Tensors

/// Scores texts with one set of weights, full softmax.
public struct TextScoring {
  let model: LanguageModel
  let weights: ParameterBuffer
  let engine: ComputeEngine

  /// How many rows a block of one rank has at most; fixed, so that a text's score does not depend on who asks.
  private static let rowsPerBlock = 1024

  /// Scores with `weights`.
  public init(model: LanguageModel, weights: ParameterBuffer, engine: ComputeEngine) {
    self.model = model
    self.weights = weights
    self.engine = engine
  }

  /// The score of a text cut in `streamCount` streams, by the model alone on this rank.
  ///
  /// `progress` is called with the tokens done so far, and may throw to end it. Throws `MilmError` where
  /// there is no token for every stream.
  public func score(
    _ tokens: some TokenSequence, streamCount: Int, specialWords: SpecialWords,
    progress: (Int) throws -> Void = { _ in }
  ) throws -> TextScore {
    let method = ScoringMethod(reading: .streams(streamCount))
    let plan = try plan(method, tokenCount: tokens.count, rankCount: 1, specialWords: specialWords)
    return try score(
      tokens, plan: plan, losses: OwnLosses(self, method: method, plan: plan), specialWords: specialWords,
      progress: progress)
  }

  /// How a method reads a text, when so many ranks score it.
  func plan(
    _ method: ScoringMethod, tokenCount: Int, rankCount: Int, specialWords: SpecialWords
  ) throws -> any ReadingPlan {
    switch method.reading {
    case .windows(let length):
      return WindowPlan(
        tokenCount: tokenCount, windowLength: length, rowCount: Self.rowsPerBlock, rankCount: rankCount,
        specialWords: specialWords)
    case .streams(let count):
      let rowCount =
        method.dynamic?.segment
        ?? Self.rowsPerBlock * (count >= rankCount ? rankCount : 1)
      return try StreamPlan(
        tokenCount: tokenCount, streamCount: count, rowCount: rowCount, specialWords: specialWords)
    }
  }

  /// Adds up the losses of a text; `onToken` gets each in the order of the plan.
  func score(
    _ tokens: some TokenSequence, plan: some ReadingPlan, losses: some BlockLosses,
    specialWords: SpecialWords, onToken: (_ word: Int32, _ nll: Double) throws -> Void = { _, _ in },
    progress: (Int) throws -> Void
  ) throws -> TextScore {
    engine.prepareThread()
    var score = TextScore(vocabularySize: model.vocabularySize, unknown: specialWords.unknown)
    func take(_ scored: ScoredBlock?) throws {
      guard let scored else { return }
      for row in scored.block.textRows {
        let (word, nll) = (scored.block.targets[row], scored.losses[row])
        score.add(word, nll: nll)
        try onToken(word, nll)
      }
      try progress(score.tokenCount)
    }
    // Two, because a block may be scored by others while the next one is read.
    let blocks = [ReadBlock(plan), ReadBlock(plan)]
    for index in 0..<plan.blockCount {
      let block = blocks[index % 2]
      plan.read(index, from: tokens, into: block)
      try take(losses.score(block))
    }
    try take(losses.finish())
    return score
  }
}

/// A block and the negative log-likelihoods of its rows, in nats.
struct ScoredBlock {
  let block: ReadBlock
  let losses: Vector<Double>
}

/// Scores blocks, maybe with other ranks.
protocol BlockLosses: AnyObject {
  /// Takes a block, and gives what is finished: this one or the one before.
  ///
  /// Losses stay valid until the next call.
  func score(_ block: ReadBlock) throws -> ScoredBlock?

  /// What was not given yet.
  func finish() throws -> ScoredBlock?
}

/// Scores blocks on this rank alone.
final class OwnLosses: BlockLosses {
  private let scorer: any BlockScorer
  private let cache: NeuralCache?

  init(_ scoring: TextScoring, method: ScoringMethod, plan: some ReadingPlan) {
    if let dynamic = method.dynamic {
      scorer = DynamicScorer(
        scoring.model, parameters: scoring.weights, stepCount: plan.stepCount, learningRate: dynamic.rate,
        engine: scoring.engine)
    } else {
      scorer = Scorer(
        scoring.model, parameters: scoring.weights, stepCount: plan.stepCount, streamCount: plan.laneCount,
        engine: scoring.engine)
    }
    cache = scoring.cache(method, plan: plan)
  }

  func score(_ block: ReadBlock) throws -> ScoredBlock? {
    if block.startsAnew { scorer.startAnew() }
    let losses = try scorer.score(inputs: block.inputs, targets: block.targets, rowCount: block.rowCount)
    if let cache {
      let rows = 0..<block.rowCount
      let probabilities = cache.read(scorer.output.rows(rows), targets: block.targets[rows])
      for row in rows { losses[row] = cache.mixed(losses[row], probability: probabilities[row]) }
    }
    return ScoredBlock(block: block, losses: losses)
  }

  func finish() -> ScoredBlock? { nil }
}

extension TextScoring {
  /// The cache that a method asks for.
  func cache(_ method: ScoringMethod, plan: some ReadingPlan) -> NeuralCache? {
    method.cache.map {
      NeuralCache(
        $0, width: model.configuration.embedding, rowCount: plan.stepCount * plan.laneCount, engine: engine)
    }
  }
}
