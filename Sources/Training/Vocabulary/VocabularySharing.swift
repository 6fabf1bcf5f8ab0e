import Communication
import LanguageModel
import Layers
import Tensors

/// The vocabulary sharded over the ranks that have lanes: the model's side of a `ShardExchange`.
///
/// Every rank reads the tokens of all lanes, so that no rank has to ask for rows.
///
/// `@unchecked Sendable`: one thread uses it, like the pass that it belongs to.
final class VocabularySharing: VocabularyShards, @unchecked Sendable {
  private let exchange: ShardExchange
  private let share: LaneShare
  /// Rows of z of one rank.
  private let rowCount: Int
  /// By shard: the words read and to be predicted, and the distinct ones of those read.
  private let inputs: Vector<Int32>
  private let targets: Vector<Int32>
  private let sorted: Vector<Int32>
  private var distinct: [UnsafeBufferPointer<Int32>] = []
  private let output: Matrix
  private let gradient: Matrix
  private let arena = Arena()

  let shard: RowShard
  let gradientDivisor: Float
  var defersMatrixGradient: Bool { true }

  /// The sharing of a rank whose segments have as many words as its lanes say.
  init(
    _ shard: RowShard, model: LanguageModel, _ configuration: TrainingConfiguration, share: LaneShare,
    communicator: any Communicator, thread: CommunicationThread
  ) {
    self.shard = shard
    self.share = share
    gradientDivisor = Float(communicator.rankCount)
    rowCount = share.laneCountPerRank * configuration.segment
    let width = model.tiedMatrix.columnCount
    let allRowCount = shard.count * rowCount
    inputs = arena.vector(of: Int32.self, count: allRowCount)
    targets = arena.vector(of: Int32.self, count: allRowCount)
    sorted = arena.vector(of: Int32.self, count: allRowCount)
    output = arena.matrix(rowCount: allRowCount, columnCount: width)
    gradient = arena.matrix(rowCount: allRowCount, columnCount: width)
    exchange = ShardExchange(
      shard, owners: Array(share.trainingRanks), width: width,
      maximumRowCount: min(rowCount * configuration.accumulate, shard.rowCount),
      // Of the rows of a chunk, which are at most all, a rank merges its part.
      maximumElementCount: rowCount * max(width, 2 * SoftmaxStatistics.numbersPerRow),
      communicator: communicator, thread: thread)
  }

  /// Begins a step; `limits` say how long to wait for other ranks in it.
  func begin(step: Int, limits: StallLimits?, isTraced: Bool) {
    exchange.begin(step: step, limits: limits, isTraced: isTraced)
  }

  /// What the step has cost so far.
  var cost: ExchangeReport { exchange.cost }

  /// Reads what all ranks read in a segment.
  func read(_ segmentIndex: Int, of data: TrainingData) {
    distinct = share.trainingRanks.enumerated().map { place, rank in
      let rows = place * rowCount..<(place + 1) * rowCount
      data.read(segmentIndex, lanes: share.lanes(of: rank), inputs: inputs[rows], targets: targets[rows])
      return UnsafeBufferPointer(sorted[rows].takeDistinct(of: inputs[rows]).buffer)
    }
  }

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

  /// Each rank merges a part of the rows and hands the result round: what is sent to each does not grow with the ranks.
  func combine(_ statistics: SoftmaxStatistics) throws {
    let numbers = statistics.numbers
    // Bits of doubles, as two floats each: they travel as they are.
    let floatsPerRow = 2 * SoftmaxStatistics.numbersPerRow
    let floats = UnsafeMutableRawPointer(numbers.data).assumingMemoryBound(to: Float.self)
    let chunks = chunks(of: 2 * numbers.count / floatsPerRow).map {
      floatsPerRow * $0.lowerBound..<floatsPerRow * $0.upperBound
    }
    let own = chunks[shard.index]
    let known = try exchange.allToAll("logits' sums", floats, chunks: chunks).map { start in
      SoftmaxStatistics(
        Vector(UnsafeMutableRawPointer(start).assumingMemoryBound(to: Double.self), count: own.count / 2))
    }
    known[shard.index].merge(known)
    try exchange.allGather("logits' sums, merged", floats, chunks: chunks)
  }

  func scatter(_ all: SoftmaxRows, into own: SoftmaxRows) throws {
    try exchange.reduceScatter(
      "gradient of z", all.gradient.data, chunks: chunks(of: all.gradient.count), factor: gradientDivisor,
      into: own.gradient.data)
  }

  /// So many things cut in as even parts as there are shards.
  private func chunks(of count: Int) -> [Range<Int>] {
    (0..<shard.count).map { count * $0 / shard.count..<count * ($0 + 1) / shard.count }
  }

  /// Adds the gradients of looked-up words, as means over all ranks, where their owners have them.
  func returnRows(_ ids: Vector<Int32>, _ rows: Matrix, addingTo gradient: Matrix) throws {
    try exchange.reduceRows(
      ids: UnsafeBufferPointer(ids.buffer), rows: rows.data, divisor: gradientDivisor,
      addingTo: gradient.data)
  }
}

extension Vector<Int32> {
  /// Sets its first elements to the distinct ones of as many words, rising; gives those.
  fileprivate func takeDistinct(of words: Vector<Int32>) -> Vector<Int32> {
    data.update(from: words.data, count: count)
    var all = buffer
    all.sort()
    var distinctCount = 0
    for word in all where distinctCount == 0 || word != self[distinctCount - 1] {
      self[distinctCount] = word
      distinctCount += 1
    }
    return self[0..<distinctCount]
  }
}
