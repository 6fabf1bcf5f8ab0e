import Communication
import LanguageModel
import Tensors

/// The vocabulary dealt out to the ranks that have lanes: the model's side of a `ShardExchange`.
///
/// Every rank reads the text of all lanes, so that nobody has to say which words it needs.
final class VocabularySharing: WordSharing {
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
  private let statistics: Vector<Double>
  private let arena = Arena()

  /// The words of this rank, which is one of those with lanes.
  let words: RowShard
  let meanRankCount: Int

  /// The sharing of a rank whose segments have as many words as its lanes say.
  init(
    _ words: RowShard, model: LanguageModel, _ configuration: TrainingConfiguration, share: LaneShare,
    communicator: any Communicator, thread: CommunicationThread
  ) {
    self.words = words
    self.share = share
    meanRankCount = communicator.rankCount
    rowCount = share.laneCountPerRank * configuration.segment
    let width = model.tiedMatrix.columnCount
    let allRowCount = words.count * rowCount
    inputs = arena.vector(of: Int32.self, count: allRowCount)
    targets = arena.vector(of: Int32.self, count: allRowCount)
    sorted = arena.vector(of: Int32.self, count: allRowCount)
    output = arena.matrix(rowCount: allRowCount, columnCount: width)
    // Two numbers of every shard for each row of a chunk, which has at most all of them.
    statistics = arena.vector(of: Double.self, count: 2 * words.count * allRowCount)
    exchange = ShardExchange(
      words, owners: Array(share.trainingRanks), width: width,
      maximumRowCount: min(rowCount * configuration.accumulate, words.rowCount),
      maximumElementCount: max(rowCount * width, 4 * allRowCount), communicator: communicator, thread: thread)
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

  func gather(_ own: Matrix) throws -> SharedRows {
    try exchange.gather("z", own.data, count: own.count, into: output.data)
    let first = words.index * rowCount
    return SharedRows(output: output, targets: targets, ownRows: first..<first + rowCount)
  }

  func gather(_ own: Vector<Double>) throws -> [Vector<Double>] {
    // Bits of doubles, as two floats each: they travel as they are.
    func floats(_ numbers: Vector<Double>) -> UnsafeMutablePointer<Float> {
      UnsafeMutableRawPointer(numbers.data).assumingMemoryBound(to: Float.self)
    }
    try exchange.gather("logits' sums", floats(own), count: 2 * own.count, into: floats(statistics))
    return (0..<words.count).map { statistics[$0 * own.count..<($0 + 1) * own.count] }
  }

  func scatter(_ gradient: Matrix, into own: Matrix) throws {
    try exchange.scatter(
      "gradient of z", gradient.data, count: own.count, factor: Float(meanRankCount), into: own.data)
  }

  /// Adds the gradients of looked-up words, as means over all ranks, where their owners have them.
  func returnRows(_ ids: Vector<Int32>, _ rows: Matrix, addingTo gradient: Matrix) throws {
    try exchange.returnRows(
      ids: UnsafeBufferPointer(ids.buffer), rows: rows.data, divisor: Float(meanRankCount),
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
