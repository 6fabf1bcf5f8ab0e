import Communication
import LanguageModel
import Tensors

/// One recurrence, on rank 0, and its softmax on all the others: where there are fewer streams than ranks.
///
/// Rank 0 reads a block and gives each of the others some rows of z with their targets; while they compute the
/// softmax, it reads the next block.
final class SpreadSoftmax: BlockLosses {
  private let rounds: ScoringRounds
  private let rankCount: Int
  private let scorer: Scorer
  private let cache: NeuralCache?
  private let cached: Vector<Double>
  private let losses: Vector<Double>
  private var pending: ReadBlock?
  private let arena = Arena()

  /// The place of rank 0.
  init(_ scoring: TextScoring, method: ScoringMethod, plan: some ReadingPlan, ranks: any Communicator) {
    rankCount = ranks.rankCount
    let rowCount = plan.stepCount * plan.laneCount
    rounds = Self.rounds(scoring, rowCount: rowCount, ranks: ranks)
    scorer = Scorer(
      scoring.model, parameters: scoring.weights, stepCount: plan.stepCount, streamCount: plan.laneCount,
      engine: scoring.engine)
    cache = scoring.cache(method, plan: plan)
    cached = arena.vector(of: Double.self, count: rowCount)
    losses = arena.vector(of: Double.self, count: rowCount)
  }

  /// What the other ranks do while rank 0 scores blocks of `rowCount` rows.
  static func serve(_ scoring: TextScoring, rowCount: Int, ranks: any Communicator) throws {
    let width = scoring.model.configuration.embedding
    let scorer = SoftmaxScorer(
      scoring.model, parameters: scoring.weights, rowCount: rowsOfARank(rowCount, ranks),
      engine: scoring.engine)
    try rounds(scoring, rowCount: rowCount, ranks: ranks).serve { work, losses in
      let rowCount = work.content.count / (1 + width)
      guard rowCount > 0 else { return 0 }
      let first = UnsafeMutableRawPointer(work.content.data + rowCount)
      let output = Matrix(
        first.assumingMemoryBound(to: Float.self), rowCount: rowCount, columnCount: width)
      let found = scorer.score(output, targets: work.content[0..<rowCount])
      losses.data.update(from: found.data, count: rowCount)
      return rowCount
    }
  }

  /// A rank gets some targets and, behind them, their rows of z.
  private static func rounds(
    _ scoring: TextScoring, rowCount: Int, ranks: any Communicator
  ) -> ScoringRounds {
    let own = rowsOfARank(rowCount, ranks)
    return ScoringRounds(
      ranks, contentCount: own * (1 + scoring.model.configuration.embedding), lossCount: own)
  }

  private static func rowsOfARank(_ rowCount: Int, _ ranks: any Communicator) -> Int {
    (rowCount + ranks.rankCount - 2) / (ranks.rankCount - 1)
  }

  func score(_ block: ReadBlock) throws -> ScoredBlock? {
    if block.startsAnew { scorer.startAnew() }
    scorer.read(block.inputs)
    let counts = (0..<rankCount).map { rank in
      fill(rounds.contents[rank], block, rows(of: rank, block.rowCount))
    }
    try rounds.giveOut(counts, startsAnew: block.startsAnew, lossCounts: pendingCounts)
    defer {
      lookUp(block)
      pending = block
    }
    return collected()
  }

  func finish() throws -> ScoredBlock? {
    try rounds.end(lossCounts: pendingCounts)
    return collected()
  }

  private func fill(_ content: Vector<Int32>, _ block: ReadBlock, _ rows: Range<Int>) -> Int {
    guard !rows.isEmpty else { return 0 }
    let width = scorer.output.columnCount
    content.data.update(from: block.targets[rows].data, count: rows.count)
    for (index, row) in rows.enumerated() {
      UnsafeMutableRawPointer(content.data + rows.count + index * width).copyMemory(
        from: scorer.output.row(row), byteCount: width * MemoryLayout<Float>.stride)
    }
    return rows.count * (1 + width)
  }

  private func lookUp(_ block: ReadBlock) {
    guard let cache else { return }
    let rows = 0..<block.rowCount
    let probabilities = cache.read(scorer.output.rows(rows), targets: block.targets[rows])
    cached.data.update(from: probabilities.data, count: rows.count)
  }

  /// The rows of a block that a rank scores.
  private func rows(of rank: Int, _ rowCount: Int) -> Range<Int> {
    rank == Ranks.coordinator ? 0..<0 : share(rank - 1, of: rowCount, among: rankCount - 1)
  }

  private var pendingCounts: [Int] {
    (0..<rankCount).map { rows(of: $0, pending?.rowCount ?? 0).count }
  }

  private func collected() -> ScoredBlock? {
    guard let pending else { return nil }
    for rank in 0..<rankCount {
      let rows = rows(of: rank, pending.rowCount)
      losses[rows].data.update(from: rounds.losses[rank].data, count: rows.count)
    }
    if let cache {
      for row in 0..<pending.rowCount { losses[row] = cache.mixed(losses[row], probability: cached[row]) }
    }
    return ScoredBlock(block: pending, losses: losses)
  }
}
