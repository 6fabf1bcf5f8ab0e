/// A range of one tensor's gradient that is exchanged as a unit, split into chunks that each have an owner.
struct Bucket {
  let name: String
  let index: Int
  let range: Range<Int>
  let blockLength: Int
  /// How many chunks it has: one for each leader of a partition.
  let chunkCount: Int
  /// Where this rank's chunk begins among all chunks it owns.
  var ownOffset = 0

  /// The elements of one chunk in the flat gradient; whole blocks except at the end of the range, possibly none.
  func chunk(_ number: Int) -> Range<Int> { chunks(number..<number + 1) }

  /// The elements of consecutive chunks.
  func chunks(_ numbers: Range<Int>) -> Range<Int> {
    let blockCount = range.count.dividedRoundingUp(by: blockLength)
    let first = blockCount * numbers.lowerBound / chunkCount * blockLength
    let end = blockCount * numbers.upperBound / chunkCount * blockLength
    return range.lowerBound + min(first, range.count)..<range.lowerBound + min(end, range.count)
  }

  /// Element count of the largest chunk.
  var maximumChunkCount: Int {
    (0..<chunkCount).reduce(0) { max($0, chunk($1).count) }
  }
}

/// All buckets of a flat gradient, in the order of its ranges.
struct BucketPlan {
  let buckets: [Bucket]
  /// The indices of a range's buckets, by the start of the range.
  private let bucketsOfRange: [Int: Range<Int>]
  /// How many elements the rank owns.
  let ownCount: Int

  /// Buckets of at most `bucketByteCount`, but at least a block; a rank without `ownChunk` owns nothing.
  init(_ ranges: [ExchangeRange], bucketByteCount: Int, chunkCount: Int, ownChunk: Int?) {
    var buckets: [Bucket] = []
    var bucketsOfRange: [Int: Range<Int>] = [:]
    var ownCount = 0
    for range in ranges {
      let first = buckets.count
      let length = max(bucketByteCount / 4 / range.blockLength, 1) * range.blockLength
      let bucketCount = range.range.count.dividedRoundingUp(by: length)
      for number in 0..<bucketCount {
        let start = range.range.lowerBound + number * length
        var bucket = Bucket(
          name: "\(range.name) \(number + 1)/\(bucketCount)", index: buckets.count,
          range: start..<min(start + length, range.range.upperBound), blockLength: range.blockLength,
          chunkCount: chunkCount)
        bucket.ownOffset = ownCount
        if let ownChunk { ownCount += bucket.chunk(ownChunk).count }
        buckets.append(bucket)
      }
      bucketsOfRange[range.range.lowerBound] = first..<buckets.count
    }
    self.buckets = buckets
    self.bucketsOfRange = bucketsOfRange
    self.ownCount = ownCount
  }

  /// The indices of the buckets of exactly this range; nil if it is not a configured one.
  func bucketIndices(of range: Range<Int>) -> Range<Int>? {
    guard let indices = bucketsOfRange[range.lowerBound], let last = indices.last,
      buckets[last].range.upperBound == range.upperBound
    else { return nil }
    return indices
  }

  /// Element count of the largest bucket.
  var maximumBucketCount: Int { buckets.reduce(0) { max($0, $1.range.count) } }
  /// Element count of the largest chunk.
  var maximumChunkCount: Int { buckets.reduce(0) { max($0, $1.maximumChunkCount) } }
}

extension BucketPlan {
  /// The plan of a rank in a layout.
  ///
  /// Ranks that share memory exchange buckets through it, which limits their size.
  init(_ ranges: [ExchangeRange], bucketByteCount: Int, layout: NodeLayout, rank: Int) {
    let most = layout.isFlat ? bucketByteCount : NodeMemory.byteBudget / (2 * layout.largestNodeSize)
    self.init(
      ranges, bucketByteCount: min(bucketByteCount, most),
      chunkCount: layout.partitionCount * layout.nodeCount, ownChunk: layout.chunkIndex(of: rank))
  }
}
