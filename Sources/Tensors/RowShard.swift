/// The rows of a matrix that one of several owners holds: blocks of equal length, assigned round-robin.
///
/// Frequent tokens have adjacent rows; round-robin assignment spreads them over all owners.
package struct RowShard: Sendable, Equatable {
  /// The number of rows of the whole matrix.
  package let rowCount: Int
  /// The number of rows per block; the last block may have fewer.
  package let blockLength: Int
  /// The number of this shard, from 0.
  package let index: Int
  /// Shards that the matrix is divided into.
  package let count: Int

  /// Shard `index` of `count` (default: a single shard of all rows).
  package init(rowCount: Int, blockLength: Int, index: Int = 0, count: Int = 1) {
    precondition(
      rowCount >= 0 && blockLength > 0 && (0..<count).contains(index), "shard \(index) of \(count)")
    self.rowCount = rowCount
    self.blockLength = blockLength
    self.index = index
    self.count = count
  }

  /// The number of blocks of this shard.
  package var blockCount: Int {
    let all = (rowCount + blockLength - 1) / blockLength
    return max(0, (all - index + count - 1) / count)
  }

  /// The rows of one of this shard's blocks.
  package func rows(ofBlock block: Int) -> Range<Int> {
    let start = (block * count + index) * blockLength
    return start..<min(start + blockLength, rowCount)
  }

  /// The rows of all blocks of this shard, ascending.
  package var blocks: [Range<Int>] { (0..<blockCount).map(rows(ofBlock:)) }

  /// The number of rows of this shard.
  package var ownRowCount: Int { blocks.reduce(0) { $0 + $1.count } }

  /// The number of rows of the largest of `count` shards, which is the first.
  package var largestRowCount: Int {
    RowShard(rowCount: rowCount, blockLength: blockLength, index: 0, count: count).ownRowCount
  }

  /// The index of the shard that holds a row.
  package func shardIndex(ofRow row: Int) -> Int { row / blockLength % count }

  /// Whether this shard holds a row.
  package func contains(_ row: Int) -> Bool { shardIndex(ofRow: row) == index }
}
