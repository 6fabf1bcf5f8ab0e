/// A piece of one tensor's gradient that travels as one: cut into parts, each of which has an owner.
struct Bucket {
  let name: String
  let index: Int
  let range: Range<Int>
  let blockLength: Int
  /// How many parts it is cut in: one for each leader of a slice.
  let partCount: Int
  /// Where this rank's part begins among all parts it owns.
  var ownOffset = 0

  /// The elements of the flat gradient of one part; whole blocks but for the end of the range, possibly none.
  func part(_ number: Int) -> Range<Int> { parts(number..<number + 1) }

  /// The elements of the flat gradient of parts that follow each other.
  func parts(_ numbers: Range<Int>) -> Range<Int> {
    let blockCount = range.count.dividedRoundingUp(by: blockLength)
    let first = blockCount * numbers.lowerBound / partCount * blockLength
    let end = blockCount * numbers.upperBound / partCount * blockLength
    return range.lowerBound + min(first, range.count)..<range.lowerBound + min(end, range.count)
  }

  /// The largest part's element count.
  var maximumPartCount: Int {
    (0..<partCount).reduce(0) { max($0, part($1).count) }
  }
}

/// All buckets of a flat gradient, in the order of its ranges.
struct BucketPlan {
  let buckets: [Bucket]
  /// The numbers of a range's buckets, by where the range begins.
  private let bucketsOfRange: [Int: Range<Int>]
  /// How many elements the rank owns.
  let ownCount: Int

  /// Buckets of at most `bucketByteCount`, but at least a block; a rank that owns nothing has no part.
  init(_ ranges: [ExchangeRange], bucketByteCount: Int, partCount: Int, ownPart: Int?) {
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
          partCount: partCount)
        bucket.ownOffset = ownCount
        if let ownPart { ownCount += bucket.part(ownPart).count }
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

  /// The largest bucket's element count.
  var maximumBucketCount: Int { buckets.reduce(0) { max($0, $1.range.count) } }
  /// The largest part's element count.
  var maximumPartCount: Int { buckets.reduce(0) { max($0, $1.maximumPartCount) } }
}
