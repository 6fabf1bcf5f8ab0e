/// When buckets are through that go over the wire one by one while others are coded, as `GradientExchange.reduce` has them go.
public struct PipelineSchedule {
  /// Seconds of the stages of one bucket.
  public struct BucketTimes {
    let encodeParts: Double
    /// Decoding and adding the parts of the others is part of it.
    let encodeMean: Double
    let takeMeans: Double
    /// Each of the two ways.
    let hop: Double
    /// Seconds of a core for both ways.
    private let sending: Double

    /// The times of a bucket of which each node owns `partCount` elements, among so many `others`.
    public init(
      partCount: Double, others: Double, cost: CodingCost, hopSeconds: Double, coreSecondsPerByte: Double
    ) {
      encodeParts = cost.encodeSeconds * partCount * others
      encodeMean = cost.decodeSeconds * partCount * others + cost.encodeSeconds * partCount
      takeMeans = cost.decodeSeconds * partCount * others
      hop = hopSeconds
      sending = 2 * others * partCount * cost.byteCount * coreSecondsPerByte
    }

    /// Seconds of a core.
    public var coreSeconds: Double { encodeParts + encodeMean + takeMeans + sending }
  }

  /// When all that was added is through.
  public var end: Double { max(wire, coding) }
  /// When the communication thread is free, and when the coding thread.
  private var (wire, coding) = (0.0, 0.0)

  /// A schedule with nothing to do.
  public init() {}

  /// Nothing goes on before this time.
  public mutating func wait(until time: Double) {
    wire = max(wire, time)
  }

  /// Buckets that were submitted together.
  public mutating func add(_ buckets: [BucketTimes]) {
    guard let first = buckets.first else { return }
    var encoded = code(first.encodeParts)
    var summed: (bucket: BucketTimes, time: Double)?
    for (number, bucket) in buckets.enumerated() {
      wait(until: encoded)
      if number + 1 < buckets.count { encoded = code(buckets[number + 1].encodeParts) }
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
    _ = code(bucket.takeMeans)
  }

  /// The coding thread takes a job from the communication thread, and is through with it at the time that is returned.
  private mutating func code(_ seconds: Double) -> Double {
    coding = max(coding, wire) + seconds
    return coding
  }
}
