import CKernels
import Tensors

/// Memory for the softmax of some rows: one chunk's exponentials, the sums of each of its rows and blocks, and each worker's
/// block of logits.
package struct SoftmaxWorkspace: Sendable {
  /// The number of rows of the tied matrix per block: with a few hundred rows of z its logits stay in a core's cache.
  static let blockLength = 512

  /// The rows of the tied matrix whose logits are computed here.
  package let shard: RowShard
  /// Blocks without a probability above it use sums in place of products.
  let threshold: Float
  let rowsPerChunk: Int
  private let rowsPerTile: Int
  /// Rows × blocks: the largest logit.
  let largest: Matrix
  /// Rows × blocks: the sum of the exponentials.
  let sums: Matrix
  /// Rows × blocks: the factors of the exponentials; empty where only scores are computed.
  let factors: Matrix
  private let statisticsOfRows: Vector<Double>
  let input: OperandMemory
  /// Each worker's part of the input's gradient.
  let inputGradients: [Matrix]
  private let precision: Precision
  private let temporary: TemporaryMemory
  private let keptByteCount: Int
  private let logits: [Matrix]
  private let products: [Matrix]
  private let means: [Matrix]
  private let tokenSums: [Matrix]
  private let workerCount: Int

  /// One of `count` shards of a vocabulary: blocks of rows, round-robin.
  package static func shard(of vocabularySize: Int, index: Int = 0, count: Int = 1) -> RowShard {
    RowShard(rowCount: vocabularySize, blockLength: blockLength, index: index, count: count)
  }

  /// Memory for the logits of a shard in up to `rowCount` rows of width E, in chunks whose exponentials take at most
  /// `byteBudget` bytes.
  ///
  /// A chunk has at least one row. Scoring alone keeps no exponentials, and has one chunk. `deferring` is for
  /// gradients that are computed after other layers have used the engine.
  package init(
    shard: RowShard, width: Int, rowCount: Int, byteBudget: Int, threshold: Float = 0, scoringOnly: Bool,
    deferring: Bool = false, engine: ComputeEngine, in arena: Arena
  ) {
    self.shard = shard
    self.threshold = threshold
    let rowsPerChunk =
      scoringOnly
      ? max(1, rowCount)
      : Self.rowsPerChunk(of: rowCount, shard: shard, byteBudget: byteBudget, precision: engine.precision)
    self.rowsPerChunk = rowsPerChunk
    let rowsPerTile = scoringOnly ? min(rowsPerChunk, 256) : rowsPerChunk
    self.rowsPerTile = rowsPerTile
    let blockCount = shard.blockCount
    largest = arena.matrix(rowCount: rowsPerChunk, columnCount: blockCount)
    sums = arena.matrix(rowCount: rowsPerChunk, columnCount: blockCount)
    factors = arena.matrix(rowCount: scoringOnly ? 0 : rowsPerChunk, columnCount: blockCount)
    statisticsOfRows = arena.vector(
      of: Double.self, count: SoftmaxStatistics.numbersPerRow * rowsPerChunk)
    input = engine.operandMemory(elementCount: rowsPerChunk * width, in: arena)
    workerCount = engine.threadCount
    func forEachWorker(_ columnCount: Int, rowCount: Int = rowsPerChunk) -> [Matrix] {
      (0..<engine.threadCount).map { _ in arena.matrix(rowCount: rowCount, columnCount: columnCount) }
    }
    logits = forEachWorker(min(Self.blockLength, shard.rowCount), rowCount: rowsPerTile)
    inputGradients = scoringOnly ? [] : forEachWorker(width)
    products = scoringOnly ? [] : forEachWorker(width)
    means = scoringOnly ? [] : forEachWorker(width, rowCount: 2)
    tokenSums = scoringOnly ? [] : forEachWorker(min(Self.blockLength, shard.rowCount), rowCount: 1)
    precision = engine.precision
    temporary = deferring ? TemporaryMemory() : engine.temporaryMemory
    keptByteCount = scoringOnly ? 0 : rowsPerChunk * shard.ownRowCount * precision.byteCount
    // Allocated here, on one thread: the workers use it concurrently, so it must not grow then.
    arena.count(byteCount: keptByteCount)
    if !arena.isCounting { _ = temporary.memory(byteCount: keptByteCount) }
  }

  /// The number of chunks of `rowCount` rows; equal on all ranks with shards of one vocabulary.
  package static func chunkCount(
    of rowCount: Int, shard: RowShard, byteBudget: Int, precision: Precision
  ) -> Int {
    let length = rowsPerChunk(of: rowCount, shard: shard, byteBudget: byteBudget, precision: precision)
    return (rowCount + length - 1) / length
  }

  /// Chunks of one size, because a small last one would cost a whole pass over the matrix for a few rows; and of a multiple of
  /// 64 rows, at which products are fastest.
  private static func rowsPerChunk(
    of rowCount: Int, shard: RowShard, byteBudget: Int, precision: Precision
  ) -> Int {
    // Ranks with shards synchronize at every chunk, so all must use the same chunks: they depend on the largest shard, and not
    // on whether this processor supports bfloat16.
    let rowByteCount =
      shard.count == 1
      ? shard.rowCount * precision.byteCount : shard.largestRowCount * Precision.bfloat16.byteCount
    let limit = max(1, min(rowCount, byteBudget / rowByteCount))
    let chunkCount = max(1, (rowCount + limit - 1) / limit)
    let even = max(1, (rowCount + chunkCount - 1) / chunkCount)
    let unit = 64
    let whole = (even + unit - 1) / unit * unit
    return whole <= limit ? whole : limit >= unit ? limit / unit * unit : even
  }

  /// The chunks of the rows of a segment.
  func chunks(of rowCount: Int) -> [Range<Int>] { Self.ranges(of: rowCount, rowsPerChunk) }

  /// The rows of a chunk whose logits of one block are computed at once.
  func tiles(of rowCount: Int) -> [Range<Int>] { Self.ranges(of: rowCount, rowsPerTile) }

  private static func ranges(of rowCount: Int, _ length: Int) -> [Range<Int>] {
    stride(from: 0, to: rowCount, by: length).map { $0..<min($0 + length, rowCount) }
  }

  /// The blocks of one worker, spread over the whole vocabulary: frequent tokens cost more where rare ones are below the threshold.
  func blocks(of worker: Worker) -> StrideTo<Int> { blocks(of: worker, in: 0..<shard.rowCount) }

  /// Those that begin within `range`: a worker has the same blocks for every partition of the vocabulary.
  func blocks(of worker: Worker, in range: Range<Int>) -> StrideTo<Int> {
    let first = firstBlock(from: range.lowerBound)
    let own = first + (worker.index + workerCount - first % workerCount) % workerCount
    return stride(from: own, to: firstBlock(from: range.upperBound), by: workerCount)
  }

  /// The first block whose rows are at `row` or after; the number of blocks where there is none.
  private func firstBlock(from row: Int) -> Int {
    let place = (row + Self.blockLength - 1) / Self.blockLength
    return min(max(0, (place - shard.index + shard.count - 1) / shard.count), shard.blockCount)
  }

  /// Up to `count` ranges of the matrix's rows, of whole blocks and about equal length.
  static func rowRanges(_ count: Int, ofVocabulary vocabularySize: Int) -> [Range<Int>] {
    let blockCount = (vocabularySize + blockLength - 1) / blockLength
    let count = max(1, min(count, blockCount))
    return (0..<count).map { number in
      let end = blockCount * (number + 1) / count * blockLength
      return blockCount * number / count * blockLength..<min(end, vocabularySize)
    }
  }

  /// Memory for the exponentials of a block, row by row, until the chunk is finished.
  func exponentials(of block: Int, rowCount: Int) -> Operand {
    let place = block * Self.blockLength * rowCount * precision.byteCount
    return Operand(
      temporary.memory(byteCount: keptByteCount) + place, precision, rowCount: rowCount,
      columnCount: shard.rows(ofBlock: block).count)
  }

  /// A worker's logits of one block.
  func logits(rowCount: Int, columnCount: Int, _ worker: Worker) -> Matrix {
    Matrix(logits[worker.index].data, rowCount: rowCount, columnCount: columnCount)
  }

  /// A worker's part of the input's gradient.
  func inputGradient(rowCount: Int, _ worker: Worker) -> Matrix {
    inputGradients[worker.index].rows(0..<rowCount)
  }

  /// The contribution of one block to a worker's part.
  func product(rowCount: Int, _ worker: Worker) -> Matrix { products[worker.index].rows(0..<rowCount) }

  /// Two rows of a worker, of width E.
  func means(_ worker: Worker) -> Matrix { means[worker.index] }

  /// A worker's sum for each token of a block.
  func tokenSums(of tokens: Range<Int>, _ worker: Worker) -> Matrix {
    tokenSums[worker.index].columns(0..<tokens.count)
  }

  /// Memory for the statistics of the rows of a chunk.
  func statistics(rowCount: Int) -> SoftmaxStatistics {
    SoftmaxStatistics(statisticsOfRows[0..<SoftmaxStatistics.numbersPerRow * rowCount])
  }

  /// A row's log-sum-exp over the shard, from the maxima and sums of the blocks.
  func logSumExp(_ row: Int) -> Double {
    CKernels_logSumExp(largest.row(row), sums.row(row), shard.blockCount)
  }
}
