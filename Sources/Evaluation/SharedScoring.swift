import Communication
import Corpus
import LanguageModel
import Tensors

/// Scores one text with all ranks of a job; rank 0 alone has the text.
struct SharedScoring {
  let scoring: TextScoring
  let ranks: any Communicator

  /// On rank 0: the score of the text, `onToken` and `progress` as in `TextScoring`.
  func score(
    _ tokens: some TokenSequence, method: ScoringMethod, specialWords: SpecialWords,
    onToken: (_ word: Int32, _ nll: Double) throws -> Void, progress: (Int) throws -> Void
  ) throws -> TextScore {
    let plan = try scoring.plan(
      method, tokenCount: tokens.count, rankCount: ranks.rankCount, specialWords: specialWords)
    let shape = try shareShape(stepCount: plan.stepCount, laneCount: plan.laneCount)
    return try scoring.score(
      tokens, plan: plan, losses: losses(method, plan, spreadsLanes: shape.spreadsLanes),
      specialWords: specialWords, onToken: onToken, progress: progress)
  }

  /// On the other ranks: scores what rank 0 gives out, to the end.
  func serve() throws {
    let shape = try shareShape(stepCount: 0, laneCount: 0)
    scoring.engine.prepareThread()
    if shape.spreadsLanes {
      try SpreadLanes.serve(scoring, stepCount: shape.stepCount, laneCount: shape.laneCount, ranks: ranks)
    } else {
      try SpreadSoftmax.serve(scoring, rowCount: shape.stepCount * shape.laneCount, ranks: ranks)
    }
  }

  private func losses(
    _ method: ScoringMethod, _ plan: any ReadingPlan, spreadsLanes: Bool
  ) -> any BlockLosses {
    // A communicator of one has nobody to give work to.
    guard ranks.rankCount > 1 else { return OwnLosses(scoring, method: method, plan: plan) }
    if spreadsLanes { return SpreadLanes(scoring, plan: plan, ranks: ranks) }
    return SpreadSoftmax(scoring, method: method, plan: plan, ranks: ranks)
  }

  /// The shape of rank 0's blocks, and whether every rank has lanes of its own.
  private func shareShape(
    stepCount: Int, laneCount: Int
  ) throws -> (stepCount: Int, laneCount: Int, spreadsLanes: Bool) {
    let shared = try [stepCount, laneCount].map { try ranks.maximum("blocks", UInt64($0)) }
    return (Int(shared[0]), Int(shared[1]), Int(shared[1]) >= ranks.rankCount)
  }
}
