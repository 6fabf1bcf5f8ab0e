import Communication
import LanguageModel
import Tensors

/// Some lanes on every rank, recurrence and softmax: where there are at least as many streams or windows as ranks.
final class SpreadLanes: BlockLosses {
  private let rounds: ScoringRounds
  private let rankCount: Int
  private let laneCount: Int
  private let scorer: Scorer
  private let inputs: Vector<Int32>
  private let targets: Vector<Int32>
  private let losses: Vector<Double>
  private var pending: (block: ReadBlock, ownLosses: Vector<Double>)?
  private let arena = Arena()

  /// The place of rank 0.
  init(_ scoring: TextScoring, plan: some ReadingPlan, ranks: any Communicator) {
    rankCount = ranks.rankCount
    laneCount = plan.laneCount
    rounds = Self.rounds(stepCount: plan.stepCount, laneCount: plan.laneCount, ranks: ranks)
    let ownLaneCount = share(Ranks.coordinator, of: laneCount, among: rankCount).count
    scorer = Scorer(
      scoring.model, parameters: scoring.weights, stepCount: plan.stepCount, streamCount: ownLaneCount,
      engine: scoring.engine)
    inputs = arena.vector(of: Int32.self, count: plan.stepCount * ownLaneCount)
    targets = arena.vector(of: Int32.self, count: plan.stepCount * ownLaneCount)
    losses = arena.vector(of: Double.self, count: plan.stepCount * laneCount)
  }

  /// What the other ranks do while rank 0 scores blocks of `stepCount` steps of `laneCount` lanes.
  static func serve(
    _ scoring: TextScoring, stepCount: Int, laneCount: Int, ranks: any Communicator
  ) throws {
    let ownLaneCount = share(ranks.rank, of: laneCount, among: ranks.rankCount).count
    let scorer = Scorer(
      scoring.model, parameters: scoring.weights, stepCount: stepCount, streamCount: ownLaneCount,
      engine: scoring.engine)
    let rowCount = stepCount * ownLaneCount
    try rounds(stepCount: stepCount, laneCount: laneCount, ranks: ranks).serve { work, losses in
      if work.startsAnew { scorer.startAnew() }
      let found = scorer.score(
        inputs: work.content[0..<rowCount], targets: work.content[rowCount..<2 * rowCount],
        rowCount: rowCount)
      losses.data.update(from: found.data, count: rowCount)
      return rowCount
    }
  }

  /// A rank gets the inputs of its lanes and, behind them, their targets.
  private static func rounds(stepCount: Int, laneCount: Int, ranks: any Communicator) -> ScoringRounds {
    let rowCount = stepCount * ((laneCount + ranks.rankCount - 1) / ranks.rankCount)
    return ScoringRounds(ranks, contentCount: 2 * rowCount, lossCount: rowCount)
  }

  func score(_ block: ReadBlock) throws -> ScoredBlock? {
    let counts = (0..<rankCount).map { rank in
      let content = rounds.contents[rank]
      guard content.count > 0 else { return 0 }
      let rowCount = copy(block.inputs, lanesOf: rank, into: content)
      return rowCount + copy(block.targets, lanesOf: rank, into: content[rowCount..<content.count])
    }
    try rounds.giveOut(counts, startsAnew: block.startsAnew, lossCounts: pendingCounts)
    let scored = collected()
    if block.startsAnew { scorer.startAnew() }
    let rowCount = copy(block.inputs, lanesOf: Ranks.coordinator, into: inputs)
    _ = copy(block.targets, lanesOf: Ranks.coordinator, into: targets)
    pending = (block, scorer.score(inputs: inputs, targets: targets, rowCount: rowCount))
    return scored
  }

  func finish() throws -> ScoredBlock? {
    try rounds.end(lossCounts: pendingCounts)
    return collected()
  }

  private func lanes(of rank: Int) -> Range<Int> { share(rank, of: laneCount, among: rankCount) }

  /// Copies the words of a rank's lanes, time-major, and gives their count.
  private func copy(_ words: Vector<Int32>, lanesOf rank: Int, into content: Vector<Int32>) -> Int {
    let lanes = lanes(of: rank)
    let stepCount = words.count / laneCount
    for step in 0..<stepCount {
      let own = step * laneCount + lanes.lowerBound
      (content.data + step * lanes.count).update(from: words.data + own, count: lanes.count)
    }
    return stepCount * lanes.count
  }

  private var pendingCounts: [Int] {
    let stepCount = losses.count / laneCount
    return (0..<rankCount).map { rank in
      pending == nil || rank == Ranks.coordinator ? 0 : stepCount * lanes(of: rank).count
    }
  }

  private func collected() -> ScoredBlock? {
    guard let pending else { return nil }
    for rank in 0..<rankCount {
      let lanes = lanes(of: rank)
      let found = rank == Ranks.coordinator ? pending.ownLosses : rounds.losses[rank]
      for step in 0..<losses.count / laneCount {
        (losses.data + step * laneCount + lanes.lowerBound).update(
          from: found.data + step * lanes.count, count: lanes.count)
      }
    }
    return ScoredBlock(block: pending.block, losses: losses)
  }
}
