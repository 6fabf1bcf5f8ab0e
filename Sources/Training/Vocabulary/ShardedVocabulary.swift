import Communication
import LanguageModel
import Layers
import Tensors

/// A shard of the tied matrix on one rank of a group.
///
/// The ranks of the group exchange rows, z and its gradient, so that the matrix's gradient stays with the owner of each
/// row; where there are several groups, the owners of a shard average it. Every rank reads the tokens of all lanes of its group,
/// so that no rank has to ask for rows.
///
/// `@unchecked Sendable`: one thread uses it, like the pass that it belongs to.
final class ShardedVocabulary: VocabularyPlacement, VocabularyShards, @unchecked Sendable {
  let shard: RowShard
  let gradientDivisor: Float
  /// The owner of a row needs its gradient only once the looked-up rows' gradients arrive, after back-propagation through time.
  var defersMatrixGradient: Bool { true }
  var shards: any VocabularyShards { self }
  let residuals: ShardResiduals

  private let exchange: ShardExchange
  /// The mean over groups; nil where there is one group, or no row in the shard.
  private let average: ShardAverage?
  private let laneLayout: LaneLayout
  private let group: Range<Int>
  private let tiedMatrix: Parameter
  /// Rows of z of one rank.
  private let rowCount: Int
  /// By shard: the tokens read and to be predicted, and the distinct ones of those read.
  private let inputs: Vector<Int32>
  private let targets: Vector<Int32>
  private let sorted: Vector<Int32>
  private var distinct: [UnsafeBufferPointer<Int32>]
  /// z of all ranks of the group, and its gradient.
  private let output: Matrix
  private let gradient: Matrix
  private let arena: Arena

  /// The shard of the rank of `communicator` in group `group` of `layout`.
  init(
    _ shard: RowShard, group: Int, layout: VocabularyLayout, average: ShardAverage?, model: LanguageModel,
    training: TrainingConfiguration, laneLayout: LaneLayout, communicator: any Communicator,
    thread: CommunicationThread, in arena: Arena
  ) {
    residuals = ShardResiduals(layout, average: average, model: model)
    self.arena = arena
    self.shard = shard
    self.laneLayout = laneLayout
    self.group = layout.ranks(ofGroup: group)
    self.average = average
    tiedMatrix = model.tiedMatrix
    // Exchanges divide by all ranks, one without lanes among them, as `LaneLayout.gradientWeight` accounts for.
    gradientDivisor = Float(communicator.rankCount) / Float(layout.groupCount)
    rowCount = laneLayout.laneCountPerRank * training.segment
    let width = tiedMatrix.columnCount
    let groupRowCount = shard.count * rowCount
    inputs = arena.vector(of: Int32.self, count: groupRowCount)
    targets = arena.vector(of: Int32.self, count: groupRowCount)
    sorted = arena.vector(of: Int32.self, count: groupRowCount)
    distinct = Array(repeating: UnsafeBufferPointer(start: nil, count: 0), count: shard.count)
    output = arena.matrix(rowCount: groupRowCount, columnCount: width)
    gradient = arena.matrix(rowCount: groupRowCount, columnCount: width)
    exchange = ShardExchange(
      shard, owners: Array(self.group), width: width,
      maximumRowCount: min(rowCount * training.accumulate, shard.rowCount),
      // Each rank merges a part of the rows of a chunk, which are at most all.
      maximumElementCount: rowCount * max(width, SoftmaxStatistics.floatsPerRow),
      communicator: communicator, thread: thread, in: arena)
  }
}

// MARK: - A step

extension ShardedVocabulary {
  var exposedSeconds: Double { exchange.cost.exposedSeconds }

  func begin(step: Int, limits: StallLimits?, isTraced: Bool) {
    exchange.begin(step: step, limits: limits, isTraced: isTraced)
  }

  func beginExchange(step: Int, flushing: Bool, limits: StallLimits?, isTraced: Bool) {
    average?.begin(step: step, flushing: flushing, limits: limits, isTraced: isTraced)
  }

  func lanes(own: Range<Int>) -> Range<Int> {
    let (first, last) = (laneLayout.lanes(of: group.lowerBound), laneLayout.lanes(of: group.upperBound - 1))
    return first.lowerBound..<last.upperBound
  }

  func read(_ segmentIndex: Int, of tokens: StepTokens) {
    for (place, rank) in group.enumerated() {
      let rows = place * rowCount..<(place + 1) * rowCount
      tokens.copy(
        segmentIndex, lanes: laneLayout.lanes(of: rank), inputs: inputs[rows], targets: targets[rows])
      distinct[place] = UnsafeBufferPointer(sorted[rows].setDistinct(of: inputs[rows]).buffer)
    }
  }

  func finish(rows: Matrix, of tokens: Vector<Int32>, into gradients: ParameterBuffer) throws {
    try exchange.reduceRows(
      ids: UnsafeBufferPointer(tokens.buffer), rows: rows.data, divisor: gradientDivisor,
      addingTo: gradients[tiedMatrix].data)
    try average?.submit(gradients)
  }

  func finish(_ gradients: ParameterBuffer, _ report: inout ExchangeReport) throws {
    report.add(apart: exchange.cost)
    if let average { report.add(apart: try average.finish(gradients)) }
  }

  func commit() { average?.exchange.commit() }
  func rollback() { average?.exchange.rollback() }
  func choose(_ codec: Codec) { average?.exchange.choose(codec) }
}

// MARK: - A segment

extension ShardedVocabulary {
  func fetchRows(into table: Matrix) throws {
    try exchange.fetchRows(distinct, into: table.data)
  }

  func gather(_ own: SoftmaxRows) throws -> SoftmaxRows {
    let first = shard.index * rowCount
    let ownRows = first..<first + rowCount
    output.rows(ownRows).copy(from: own.output)
    try exchange.allGather("z", output.data, chunks: chunks(of: output.count))
    return SoftmaxRows(output: output, targets: targets, gradient: gradient, ownRows: ownRows)
  }

  /// Each rank merges some of the rows for all others: what is sent to each does not grow with the number of ranks.
  func combine(_ statistics: SoftmaxStatistics) throws {
    let numbers = statistics.numbers
    let (numbersPerRow, floatsPerRow) = (SoftmaxStatistics.numbersPerRow, SoftmaxStatistics.floatsPerRow)
    // The bits of doubles are sent unchanged, as floats.
    let floats = UnsafeMutableRawPointer(numbers.data).assumingMemoryBound(to: Float.self)
    let rows = chunks(of: numbers.count / numbersPerRow)
    let chunks = rows.map { floatsPerRow * $0.lowerBound..<floatsPerRow * $0.upperBound }
    let ownNumberCount = numbersPerRow * rows[shard.index].count
    let known = try exchange.allToAll("logits' sums", floats, chunks: chunks).map { start in
      SoftmaxStatistics(
        Vector(
          UnsafeMutableRawPointer(start).assumingMemoryBound(to: Double.self), count: ownNumberCount))
    }
    known[shard.index].merge(known)
    try exchange.allGather("logits' sums, merged", floats, chunks: chunks)
  }

  func scatter(_ all: SoftmaxRows, into own: SoftmaxRows) throws {
    try exchange.reduceScatter(
      "gradient of z", all.gradient.data, chunks: chunks(of: all.gradient.count), factor: gradientDivisor,
      into: own.gradient.data)
  }

  /// `count` elements in as many chunks as there are shards, as even as possible.
  private func chunks(of count: Int) -> [Range<Int>] {
    (0..<shard.count).map { count * $0 / shard.count..<count * ($0 + 1) / shard.count }
  }
}

extension Vector<Int32> {
  /// Sets its first elements to the distinct ones of as many tokens, ascending; returns those.
  fileprivate func setDistinct(of tokens: Vector<Int32>) -> Vector<Int32> {
    data.update(from: tokens.data, count: count)
    var all = buffer
    all.sort()
    var distinctCount = 0
    for token in all where distinctCount == 0 || token != self[distinctCount - 1] {
      self[distinctCount] = token
      distinctCount += 1
    }
    return self[0..<distinctCount]
  }
}
