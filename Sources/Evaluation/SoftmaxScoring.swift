import Communication
import LanguageModel
import Tensors

/// Rank 0 computes the recurrence and all other ranks the softmax: for fewer lanes than ranks.
///
/// Rank 0 sends each of the others some rows of z with their targets; while they compute the softmax, it reads the next
/// block.
final class SoftmaxScoring: BlockScoring {
  private let channel: ScoringChannel
  private let rankCount: Int
  private let scorer: Scorer
  private let cache: NeuralCache?
  private let cached: Vector<Double>
  private let losses: Vector<Double>
  private var pending: Block?
  private let arena = Arena()

  /// Rank 0's side.
  init(_ text: TextScorer, method: ScoringMethod, order: ReadingOrder) {
    rankCount = text.ranks.rankCount
    channel = Self.channel(text, rowCount: order.rowCount)
    scorer = Scorer(
      text.model, parameters: text.weights, stepCount: order.stepCount, streamCount: order.laneCount,
      engine: text.engine)
    cache = text.cache(method, order)
    cached = arena.vector(of: Double.self, count: order.rowCount)
    losses = arena.vector(of: Double.self, count: order.rowCount)
  }

  /// The other ranks' side, for blocks of `rowCount` rows.
  static func serve(_ text: TextScorer, rowCount: Int) throws {
    let width = text.model.configuration.embedding
    let scorer = SoftmaxScorer(
      text.model, parameters: text.weights, rowCount: rowsPerRank(rowCount, text.ranks),
      engine: text.engine)
    try channel(text, rowCount: rowCount).serve { request, losses in
      let rowCount = request.content.count / (1 + width)
      guard rowCount > 0 else { return 0 }
      let first = UnsafeMutableRawPointer(request.content.data + rowCount)
      let output = Matrix(
        first.assumingMemoryBound(to: Float.self), rowCount: rowCount, columnCount: width)
      let found = scorer.score(output, targets: request.content[0..<rowCount])
      losses.data.update(from: found.data, count: rowCount)
      return rowCount
    }
  }

  /// A request is targets, then their rows of z.
  private static func channel(_ text: TextScorer, rowCount: Int) -> ScoringChannel {
    let own = rowsPerRank(rowCount, text.ranks)
    return ScoringChannel(
      text.ranks, contentCount: own * (1 + text.model.configuration.embedding), lossCount: own)
  }

  private static func rowsPerRank(_ rowCount: Int, _ ranks: any Communicator) -> Int {
    (rowCount + ranks.rankCount - 2) / (ranks.rankCount - 1)
  }

  func score(_ block: Block) throws -> ScoredBlock? {
    if block.resetsState { scorer.resetState() }
    scorer.read(block.inputs)
    let counts = (0..<rankCount).map { fill(channel.contents[$0], block, rows(of: $0, block.rowCount)) }
    try channel.send(counts, resetsState: block.resetsState, lossCounts: pendingCounts)
    let previous = collect()
    lookUp(block)
    pending = block
    return previous
  }

  func finish() throws -> ScoredBlock? {
    try channel.close(lossCounts: pendingCounts)
    return collect()
  }

  private func fill(_ content: Vector<Int32>, _ block: Block, _ rows: Range<Int>) -> Int {
    guard !rows.isEmpty else { return 0 }
    let width = scorer.output.columnCount
    content.data.update(from: block.targets[rows].data, count: rows.count)
    for (index, row) in rows.enumerated() {
      UnsafeMutableRawPointer(content.data + rows.count + index * width).copyMemory(
        from: scorer.output.row(row), byteCount: width * MemoryLayout<Float>.stride)
    }
    return rows.count * (1 + width)
  }

  private func lookUp(_ block: Block) {
    guard let cache else { return }
    let rows = 0..<block.rowCount
    let probabilities = cache.read(scorer.output.rows(rows), targets: block.targets[rows])
    cached.data.update(from: probabilities.data, count: rows.count)
  }

  /// The rows of a block that a rank scores.
  private func rows(of rank: Int, _ rowCount: Int) -> Range<Int> {
    rank == Ranks.coordinator ? 0..<0 : partition(rank - 1, of: rowCount, into: rankCount - 1)
  }

  private var pendingCounts: [Int] {
    (0..<rankCount).map { rows(of: $0, pending?.rowCount ?? 0).count }
  }

  /// The pending block, whose losses have all arrived.
  private func collect() -> ScoredBlock? {
    guard let pending else { return nil }
    for rank in 0..<rankCount {
      let rows = rows(of: rank, pending.rowCount)
      losses[rows].data.update(from: channel.losses[rank].data, count: rows.count)
    }
    if let cache {
      for row in 0..<pending.rowCount { losses[row] = cache.mixed(losses[row], probability: cached[row]) }
    }
    return ScoredBlock(block: pending, losses: losses)
  }
}
