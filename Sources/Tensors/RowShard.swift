/// The rows of a matrix that one of several owners has: blocks of equal length, dealt out by turns.
///
/// Rows that are used often lie together, as frequent words do; dealt out, they are spread over all owners.
public struct RowShard: Sendable, Equatable {
  /// The rows of the whole matrix.
  public let rowCount: Int
  /// How many rows a block has; the last one may have fewer.
  public let blockLength: Int
  /// The number of this shard, from 0.
  public let index: Int
  /// How many shards there are.
  public let count: Int

  /// Shard `index` of `count`; the only one, which has all rows, unless said otherwise.
  public init(rowCount: Int, blockLength: Int, index: Int = 0, count: Int = 1) {
    precondition(
      rowCount >= 0 && blockLength > 0 && (0..<count).contains(index), "shard \(index) of \(count)")
    self.rowCount = rowCount
    self.blockLength = blockLength
    self.index = index
    self.count = count
  }

  /// How many blocks this shard has.
  public var blockCount: Int {
    let all = (rowCount + blockLength - 1) / blockLength
    return max(0, (all - index + count - 1) / count)
  }

  /// The rows of one of this shard's blocks.
  public func rows(ofBlock block: Int) -> Range<Int> {
    let start = (block * count + index) * blockLength
    return start..<min(start + blockLength, rowCount)
  }

  /// The rows of all blocks of this shard, rising.
  public var blocks: [Range<Int>] { (0..<blockCount).map(rows(ofBlock:)) }

  /// How many rows this shard has.
  public var ownRowCount: Int { blocks.reduce(0) { $0 + $1.count } }

  /// The most rows that a shard of so many has: those of the first, which is dealt to first.
  public var largestRowCount: Int {
    RowShard(rowCount: rowCount, blockLength: blockLength, index: 0, count: count).ownRowCount
  }

  /// The number of the shard that has a row.
  public func shardIndex(ofRow row: Int) -> Int { row / blockLength % count }

  /// Whether this shard has a row.
  public func contains(_ row: Int) -> Bool { shardIndex(ofRow: row) == index }
}
