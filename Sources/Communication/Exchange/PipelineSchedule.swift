import Platform

/// Predicts when buckets are reduced, in the order of `GradientExchange.reduce`: one is on the wire while others are coded.
package struct PipelineSchedule {
  /// Seconds of the stages of one bucket.
  package struct BucketTimes {
    let encodeChunks: Double
    /// Includes decoding and adding the chunks of the others.
    let encodeMean: Double
    let decodeMeans: Double
    /// One of the two hops.
    let hop: Double
    /// Core seconds of both hops.
    private let sending: Double

    /// The times of a bucket of which each node owns `chunkCount` elements.
    package init(
      chunkCount: Double, others: Double, cost: CodingCost, hopSeconds: Double, coreSecondsPerByte: Double
    ) {
      encodeChunks = cost.encodeSeconds * chunkCount * others
      encodeMean = cost.decodeSeconds * chunkCount * others + cost.encodeSeconds * chunkCount
      decodeMeans = cost.decodeSeconds * chunkCount * others
      hop = hopSeconds
      sending = 2 * others * chunkCount * cost.byteCount * coreSecondsPerByte
    }

    /// Core seconds of a bucket, sending included.
    package var coreSeconds: Double { encodeChunks + encodeMean + decodeMeans + sending }
  }

  /// When all added buckets are reduced.
  package var end: Double { max(wire, coding) }
  /// When the communication thread and the codec thread are free.
  private var (wire, coding) = (0.0, 0.0)

  /// An empty schedule.
  package init() {}

  /// Later buckets start at this time or later.
  package mutating func wait(until time: Double) {
    wire = max(wire, time)
  }

  /// Adds buckets that are submitted together.
  package mutating func add(_ buckets: [BucketTimes]) {
    guard let first = buckets.first else { return }
    var encoded = code(first.encodeChunks)
    var summed: (bucket: BucketTimes, time: Double)?
    for (number, bucket) in buckets.enumerated() {
      wait(until: encoded)
      if number + 1 < buckets.count { encoded = code(buckets[number + 1].encodeChunks) }
      wire += bucket.hop
      let mean = code(bucket.encodeMean)
      if let summed { distribute(summed.bucket, at: summed.time) }
      summed = (bucket, mean)
    }
    if let summed { distribute(summed.bucket, at: summed.time) }
    wait(until: coding)
  }

  private mutating func distribute(_ bucket: BucketTimes, at time: Double) {
    wait(until: time)
    wire += bucket.hop
    _ = code(bucket.decodeMeans)
  }

  /// Adds a job that the communication thread gives to the codec thread; returns when it is done.
  private mutating func code(_ seconds: Double) -> Double {
    coding = max(coding, wire) + seconds
    return coding
  }
}
