/// A tensor's range of the flat gradient, and how it is coded.
package struct ExchangeRange: Sendable {
  /// Its elements of the flat gradient.
  package let range: Range<Int>
  /// Elements that share a scale: the row length where rows differ in size, as in an embedding; else 256.
  package let blockLength: Int
  /// The name in messages.
  package let name: String

  /// A tensor's range; all values must be the same on all ranks.
  package init(range: Range<Int>, blockLength: Int, name: String) {
    precondition(blockLength > 0, "blocks have elements")
    self.range = range
    self.blockLength = blockLength
    self.name = name
  }
}

/// A matrix in the flat gradient whose gradient has a part of few rows, in addition to its dense part.
package struct SparseRows: Sendable {
  /// Where the matrix begins in the flat gradient; one of the exchange's ranges begins there too, others may follow.
  package let offset: Int
  /// The length of a row.
  package let width: Int
  /// The rows of the matrix.
  package let rowCount: Int
  /// Maximum rows of one rank in one step; the same on all ranks.
  package let maximumRowCount: Int

  /// Rows of the matrix whose range begins at `offset`.
  package init(offset: Int, width: Int, rowCount: Int, maximumRowCount: Int) {
    precondition(width > 0 && rowCount >= 0 && maximumRowCount >= 0, "rows have elements")
    self.offset = offset
    self.width = width
    self.rowCount = rowCount
    self.maximumRowCount = maximumRowCount
  }

  /// The matrix's range of the flat gradient.
  var range: Range<Int> { offset..<offset + rowCount * width }
}

/// Settings of an exchange; the same on all ranks.
package struct ExchangeConfiguration: Sendable {
  /// The codec of steps that do not flush, until another one is set.
  package let codec: Codec
  /// Maximum size of a bucket, in bytes of 32-bit floats.
  package let bucketByteCount: Int
  /// Maximum ranks treated as one node; nil for all that share memory.
  package let ranksPerNode: Int?
  /// How long to wait for other ranks; nil: as long as their heartbeat is received.
  package let stallLimits: StallLimits?

  /// Buckets of 16 MiB, nodes as shared memory has them, and no stall timeout unless given.
  package init(
    codec: Codec, bucketByteCount: Int = 16 << 20, ranksPerNode: Int? = nil, stallLimits: StallLimits? = nil
  ) {
    precondition(bucketByteCount >= 4, "a bucket holds a value")
    self.ranksPerNode = ranksPerNode
    self.codec = codec
    self.bucketByteCount = bucketByteCount
    self.stallLimits = stallLimits
  }
}
