import Communication
import LanguageModel
import Tensors

/// Every rank scores lanes of its own, recurrence and softmax; a rank alone scores them all.
final class LaneScoring: BlockScoring {
  private let channel: ScoringChannel
  private let assignments: [LaneRows]
  private let scorer: any BlockScorer
  private let cache: NeuralCache?
  private let inputs: Vector<Int32>
  private let targets: Vector<Int32>
  private let losses: Vector<Double>
  private var pending: (block: Block, ownLosses: Vector<Double>)?
  private let arena = Arena()

  /// Rank 0's side.
  init(_ text: TextScorer, method: ScoringMethod, order: ReadingOrder) {
    let rankCount = text.ranks.rankCount
    assignments = (0..<rankCount).map { LaneRows(of: $0, laneCount: order.laneCount, rankCount: rankCount) }
    channel = Self.channel(stepCount: order.stepCount, assignments: assignments, ranks: text.ranks)
    let own = assignments[Ranks.coordinator].lanes.count
    if let dynamic = method.dynamic {
      scorer = DynamicScorer(
        text.model, parameters: text.weights, stepCount: order.stepCount, learningRate: dynamic.rate,
        engine: text.engine)
    } else {
      scorer = Scorer(
        text.model, parameters: text.weights, stepCount: order.stepCount, streamCount: own,
        engine: text.engine)
    }
    cache = text.cache(method, order)
    inputs = arena.vector(of: Int32.self, count: order.stepCount * own)
    targets = arena.vector(of: Int32.self, count: order.stepCount * own)
    losses = arena.vector(of: Double.self, count: order.rowCount)
  }

  /// The other ranks' side, for blocks of `stepCount` steps of `laneCount` lanes.
  static func serve(_ text: TextScorer, stepCount: Int, laneCount: Int) throws {
    let rankCount = text.ranks.rankCount
    let assignments = (0..<rankCount).map { LaneRows(of: $0, laneCount: laneCount, rankCount: rankCount) }
    let ownLaneCount = assignments[text.ranks.rank].lanes.count
    let scorer = Scorer(
      text.model, parameters: text.weights, stepCount: stepCount, streamCount: ownLaneCount,
      engine: text.engine)
    let inputCount = stepCount * ownLaneCount
    try channel(stepCount: stepCount, assignments: assignments, ranks: text.ranks).serve { request, losses in
      if request.resetsState { scorer.resetState() }
      let targets = request.content[inputCount..<request.content.count]
      let found = scorer.score(
        inputs: request.content[0..<inputCount], targets: targets, rowCount: targets.count)
      losses.data.update(from: found.data, count: targets.count)
      return targets.count
    }
  }

  /// A request is the inputs of a rank's lanes, then the targets of the rows up to the text's last.
  private static func channel(
    stepCount: Int, assignments: [LaneRows], ranks: any Communicator
  ) -> ScoringChannel {
    let rowCount = stepCount * (assignments.map(\.lanes.count).max() ?? 0)
    return ScoringChannel(ranks, contentCount: 2 * rowCount, lossCount: rowCount)
  }

  func score(_ block: Block) throws -> ScoredBlock? {
    let counts = assignments.enumerated().map { rank, assignment in
      let content = channel.contents[rank]
      guard content.count > 0 else { return 0 }
      let inputCount = assignment.rowCount(of: block.inputs.count)
      let targetCount = assignment.rowCount(of: block.rowCount)
      assignment.gather(block.inputs, into: content[0..<inputCount])
      assignment.gather(block.targets, into: content[inputCount..<inputCount + targetCount])
      return inputCount + targetCount
    }
    try channel.send(counts, resetsState: block.resetsState, lossCounts: pendingCounts)
    let previous = collect()
    pending = (block, try scoreOwn(block))
    return previous
  }

  func finish() throws -> ScoredBlock? {
    try channel.close(lossCounts: pendingCounts)
    return collect()
  }

  private func scoreOwn(_ block: Block) throws -> Vector<Double> {
    let assignment = assignments[Ranks.coordinator]
    let rows = 0..<assignment.rowCount(of: block.rowCount)
    assignment.gather(block.inputs, into: inputs)
    assignment.gather(block.targets, into: targets[rows])
    if block.resetsState { scorer.resetState() }
    let losses = try scorer.score(inputs: inputs, targets: targets, rowCount: rows.count)
    if let cache {
      let probabilities = cache.read(scorer.output.rows(rows), targets: targets[rows])
      for row in rows { losses[row] = cache.mixed(losses[row], probability: probabilities[row]) }
    }
    return losses
  }

  private var pendingCounts: [Int] {
    assignments.enumerated().map { rank, assignment in
      rank == Ranks.coordinator ? 0 : assignment.rowCount(of: pending?.block.rowCount ?? 0)
    }
  }

  /// The pending block, whose losses have all arrived.
  private func collect() -> ScoredBlock? {
    guard let pending else { return nil }
    for (rank, assignment) in assignments.enumerated() {
      let found = rank == Ranks.coordinator ? pending.ownLosses : channel.losses[rank]
      assignment.scatter(found[0..<assignment.rowCount(of: pending.block.rowCount)], into: losses)
    }
    return ScoredBlock(block: pending.block, losses: losses)
  }
}

/// The rows of one rank's lanes in a time-major block of all lanes.
private struct LaneRows {
  let lanes: Range<Int>
  private let laneCount: Int

  init(of rank: Int, laneCount: Int, rankCount: Int) {
    lanes = partition(rank, of: laneCount, into: rankCount)
    self.laneCount = laneCount
  }

  /// How many of a block's first `count` rows are the rank's.
  func rowCount(of count: Int) -> Int {
    let (stepCount, rest) = count.quotientAndRemainder(dividingBy: laneCount)
    return stepCount * lanes.count + min(max(rest - lanes.lowerBound, 0), lanes.count)
  }

  /// Copies the rank's first rows out of all rows.
  func gather(_ all: Vector<Int32>, into own: Vector<Int32>) {
    for row in 0..<own.count { own[row] = all[place(of: row)] }
  }

  /// Copies the rank's first rows to their places among all rows.
  func scatter(_ own: Vector<Double>, into all: Vector<Double>) {
    for row in 0..<own.count { all[place(of: row)] = own[row] }
  }

  private func place(of row: Int) -> Int {
    row / lanes.count * laneCount + lanes.lowerBound + row % lanes.count
  }
}
