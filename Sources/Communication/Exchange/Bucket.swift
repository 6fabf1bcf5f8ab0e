/// A piece of one tensor's gradient that travels as one: cut into a part for each rank, its owner.
struct Bucket {
  let name: String
  let index: Int
  let range: Range<Int>
  let blockLength: Int
  let compressionLevel: Int
  let rankCount: Int
  /// Where this rank's part begins among all parts it owns.
  var ownOffset = 0

  /// The part of the flat gradient that `owner` sums; whole blocks but for the end
  /// of the range, possibly none.
  func part(of owner: Int) -> Range<Int> {
    let blockCount = range.count.dividedRoundingUp(by: blockLength)
    let first = blockCount * owner / rankCount * blockLength
    let end = blockCount * (owner + 1) / rankCount * blockLength
    return range.lowerBound + min(first, range.count)..<range.lowerBound + min(end, range.count)
  }

  /// The largest part's element count.
  var maximumPartCount: Int {
    (0..<rankCount).reduce(0) { max($0, part(of: $1).count) }
  }
}

/// All buckets of a flat gradient, in the order of its ranges.
struct BucketPlan {
  let buckets: [Bucket]
  /// The numbers of a range's buckets, by where the range begins.
  private let bucketsOfRange: [Int: Range<Int>]
  /// How many elements the rank owns.
  let ownCount: Int

  init(_ ranges: [ExchangeRange], bucketByteCount: Int, rank: Int, rankCount: Int) {
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
          compressionLevel: range.compressionLevel, rankCount: rankCount)
        bucket.ownOffset = ownCount
        ownCount += bucket.part(of: rank).count
        buckets.append(bucket)
      }
      bucketsOfRange[range.range.lowerBound] = first..<buckets.count
    }
    self.buckets = buckets
    self.bucketsOfRange = bucketsOfRange
    self.ownCount = ownCount
  }

  /// The numbers of the buckets of exactly this range; nil if it is none of the configured ones.
  func bucketIndices(of range: Range<Int>) -> Range<Int>? {
    guard let indices = bucketsOfRange[range.lowerBound], let last = indices.last,
      buckets[last].range.upperBound == range.upperBound
    else { return nil }
    return indices
  }
}
