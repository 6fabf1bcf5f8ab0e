import Platform
import Tensors

/// When the ranges of a step's gradient are submitted, in seconds from its start.
package struct StepTiming: Sendable, Equatable {
  /// The ranges in the order in which they are submitted, by their index, and when.
  package var submitted: [(range: Int, seconds: Double)] = []
  /// When computing ends and the step waits for the exchange.
  package var finishSeconds = 0.0

  /// A timing to be filled in.
  package init() {}

  /// Whether two steps had the same timing.
  package static func == (one: StepTiming, other: StepTiming) -> Bool {
    one.finishSeconds == other.finishSeconds
      && one.submitted.elementsEqual(other.submitted) { $0.range == $1.range && $0.seconds == $1.seconds }
  }
}

/// Predicted costs of the exchange in a step with one codec.
package struct ExchangePrediction: Sendable, Equatable {
  package let codec: Codec
  /// Traffic of a rank that leads a partition.
  package internal(set) var traffic = ExchangeTraffic()
  /// Seconds of coding and compression.
  package internal(set) var encodeSeconds = 0.0
  /// Seconds of sending and receiving, latency included.
  package internal(set) var wireSeconds = 0.0
  /// Seconds of decoding and adding.
  package internal(set) var decodeSeconds = 0.0
  /// Exposed communication time in seconds.
  package internal(set) var exposedSeconds = 0.0
  /// Seconds by which a step is longer: the exposed ones, and those of coding and sending that take a core from computing.
  package internal(set) var costSeconds = 0.0

  init(codec: Codec) {
    self.codec = codec
  }

  /// Bytes of the sent values as floats ÷ bytes sent.
  package var ratio: Double { traffic.ratio }
}

/// Messages, bytes and seconds of a `GradientExchange`, computed without running it.
///
/// Planning and `auto` predict with it. The ranks need not exist.
package struct ExchangeModel: Sendable {
  private let plan: BucketPlan
  private let ranges: [ExchangeRange]
  private let rows: SparseRows?
  private let bucketByteCount: Int
  private let layout: NodeLayout

  /// Bytes per second of gradient that a rank sums and copies in shared memory; of the order of one core's share.
  private static let sharedMemoryBytesPerSecond = 4e9
  /// Bytes per element of exact rows: the mantissas of gradients are noise, only exponents compress.
  private static let exactByteCount = 3.4

  /// The exchange of these ranges, and of sparse rows where there are any, over the nodes of `layout`.
  package init(ranges: [ExchangeRange], rows: SparseRows?, bucketByteCount: Int, layout: NodeLayout) {
    self.ranges = ranges
    self.rows = rows
    self.bucketByteCount = bucketByteCount
    self.layout = layout
    plan = BucketPlan(ranges, bucketByteCount: bucketByteCount, layout: layout, rank: 0)
  }

  /// The same exchange over other nodes.
  package func over(_ layout: NodeLayout) -> ExchangeModel {
    ExchangeModel(ranges: ranges, rows: rows, bucketByteCount: bucketByteCount, layout: layout)
  }

  /// The exchange of a shard of some ranges, which are the rows of a matrix, between the ranks that own it.
  ///
  /// Blocks of rows are assigned round-robin, so a shard has the same fraction of each range.
  package func shard(_ shard: RowShard, of numbers: [Int], over owners: NodeLayout) -> ExchangeModel {
    let shards = ranges.enumerated().map { number, whole in
      guard numbers.contains(number) else { return whole }
      let first = whole.range.lowerBound
      let count = whole.range.count * shard.ownRowCount / max(shard.rowCount, 1)
      return ExchangeRange(
        range: first..<first + max(count, 1), blockLength: whole.blockLength, name: whole.name)
    }
    return ExchangeModel(ranges: shards, rows: nil, bucketByteCount: bucketByteCount, layout: owners)
  }

  private var otherCount: Int { layout.nodeCount - 1 }

  /// Traffic of a partition's leader for one range: a chunk and a mean to each other leader, for every bucket.
  package func traffic(ofRange number: Int, byteCountPerElement: Double) -> ExchangeTraffic {
    bucketIndices(number).reduce(ExchangeTraffic()) {
      $0 + hop($1, byteCountPerElement: byteCountPerElement) * 2
    }
  }

  /// Traffic of a node's first rank for sparse rows: a message with all rows of the node to each other node.
  ///
  /// `rowElementCount` is the number of floats in a rank's rows.
  package func rowTraffic(rowElementCount: Double) -> ExchangeTraffic {
    guard let rows, otherCount > 0 else { return ExchangeTraffic() }
    let elements = rowElementCount * Double(layout.largestNodeSize) * Double(otherCount)
    let numbers = elements / Double(rows.width)
    return ExchangeTraffic(
      roundCount: 1, messageCount: otherCount, byteCount: (elements + numbers) * Self.exactByteCount,
      floatByteCount: 4 * (elements + numbers))
  }

  /// The costs of a step whose ranges are submitted at these times.
  ///
  /// Every range is exchanged when it is submitted, and the rows after all ranges; `rowElementCount` is the number of floats
  /// in a rank's rows. `hasSpareCore`: whether the exchange's threads have a core that no compute thread uses.
  package func prediction(
    _ measurement: CodecMeasurement, link: LinkMeasurement, timing: StepTiming, rowElementCount: Double = 0,
    hasSpareCore: Bool
  ) -> ExchangePrediction {
    var prediction = ExchangePrediction(codec: measurement.codec)
    let others = Double(otherCount)
    var hiddenWork = 0.0
    var schedule = PipelineSchedule()
    for (number, submitted) in timing.submitted where layout.rankCount > 1 {
      schedule.wait(until: submitted)
      let cost = measurement.costs[number]
      var buckets: [PipelineSchedule.BucketTimes] = []
      for index in bucketIndices(number) {
        if !layout.isFlat {
          let byteCount = 4 * plan.buckets[index].range.count
          schedule.wait(until: schedule.end + Double(byteCount) / Self.sharedMemoryBytesPerSecond)
        }
        guard others > 0 else { continue }
        let chunk = Double(plan.buckets[index].maximumChunkCount)
        let hop = hop(index, byteCountPerElement: cost.byteCount)
        let times = PipelineSchedule.BucketTimes(
          chunkCount: chunk, others: others, cost: cost, hopSeconds: hop.seconds(over: link),
          coreSecondsPerByte: link.coreSecondsPerByte)
        prediction.traffic += hop * 2
        prediction.encodeSeconds += cost.encodeSeconds * chunk * (others + 1)
        prediction.decodeSeconds += cost.decodeSeconds * chunk * 2 * others
        prediction.wireSeconds += 2 * hop.seconds(over: link)
        if schedule.end < timing.finishSeconds { hiddenWork += times.coreSeconds }
        // Through shared memory buckets are reduced one after the other.
        if layout.isFlat { buckets.append(times) } else { schedule.add([times]) }
      }
      schedule.add(buckets)
    }
    if rowElementCount > 0, rows != nil, otherCount > 0 {
      let traffic = rowTraffic(rowElementCount: rowElementCount)
      let decode =
        measurement.decodeSeconds * rowElementCount * Double(layout.largestNodeSize) * others
      prediction.traffic += traffic
      prediction.decodeSeconds += decode
      prediction.wireSeconds += traffic.seconds(over: link)
      // The rows of a step are complete when computing ends.
      schedule.wait(until: max(schedule.end, timing.finishSeconds) + decode + traffic.seconds(over: link))
    }
    prediction.exposedSeconds = max(0, schedule.end - timing.finishSeconds)
    prediction.costSeconds = prediction.exposedSeconds + (hasSpareCore ? 0 : hiddenWork)
    return prediction
  }

  /// Traffic of a partition's leader in one of the two hops of a bucket: its largest chunk to each other leader.
  private func hop(_ index: Int, byteCountPerElement: Double) -> ExchangeTraffic {
    guard otherCount > 0 else { return ExchangeTraffic() }
    let elements = Double(plan.buckets[index].maximumChunkCount * otherCount)
    return ExchangeTraffic(
      roundCount: 1, messageCount: otherCount, byteCount: byteCountPerElement * elements,
      floatByteCount: 4 * elements)
  }

  private func bucketIndices(_ number: Int) -> Range<Int> {
    plan.bucketIndices(of: ranges[number].range) ?? 0..<0
  }
}

extension GradientExchange {
  /// Predicted costs of a codec in steps that are timed like the last one.
  package func predict(
    _ measurement: CodecMeasurement, link: LinkMeasurement, hasSpareCore: Bool
  ) -> ExchangePrediction {
    model.prediction(measurement, link: link, timing: timing, hasSpareCore: hasSpareCore)
  }

  /// Measures the link between the leaders of a partition; nil on a rank that sends nothing.
  ///
  /// All ranks call it between steps.
  package func measureLink() throws -> LinkMeasurement? {
    guard peers.count > 1 else { return nil }
    return try thread.run { [communicator, peers] in
      try communicator.measureLink(with: peers, seconds: 0.2)
    }
  }
}

extension [ExchangePrediction] {
  /// The codec of the shortest step; of those within 2 % of it the most exact.
  ///
  /// `computeSeconds` is the time of a step without exchange. Nil if there is none to choose from.
  package func best(computeSeconds: Double) -> ExchangePrediction? {
    cheapestOfEachCodec.firstNearMinimum { computeSeconds + $0.costSeconds }
  }

  /// One prediction per codec: the cheaper one where there are two.
  package var cheapestOfEachCodec: [ExchangePrediction] {
    Codec.allCases.compactMap { codec in
      filter { $0.codec == codec }.min { $0.costSeconds < $1.costSeconds }
    }
  }
}

/// Predictions are too inexact to tell apart values within 2 % of the least one.
private let nearMinimumFactor = 1.02

extension Sequence {
  /// The first element whose value is within 2 % of the least one; nil if there is none.
  package func firstNearMinimum(_ value: (Element) -> Double) -> Element? {
    let limit = nearMinimumFactor * (map(value).min() ?? 0)
    return first { value($0) <= limit }
  }
}
