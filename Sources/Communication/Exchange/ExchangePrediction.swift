/// When the parts of a step's gradient were ready, in seconds from its beginning.
public struct StepTiming: Sendable, Equatable {
  /// The ranges in the order in which they were submitted, by their number, and when.
  public var submitted: [(range: Int, seconds: Double)] = []
  /// When there was nothing left to compute.
  public var finishSeconds = 0.0

  /// A step in which nothing was submitted yet.
  public init() {}

  /// Whether two steps had the same timing.
  public static func == (one: StepTiming, other: StepTiming) -> Bool {
    one.finishSeconds == other.finishSeconds
      && one.submitted.elementsEqual(other.submitted) { $0.range == $1.range && $0.seconds == $1.seconds }
  }
}

/// What a codec would cost in every step.
public struct ExchangePrediction: Sendable, Equatable {
  /// The codec.
  public let codec: Codec
  /// How many times fewer bytes it sends than floats take.
  public internal(set) var ratio = 0.0
  /// Seconds of coding and zstd.
  public internal(set) var encodeSeconds = 0.0
  /// Seconds on the wire.
  public internal(set) var wireSeconds = 0.0
  /// Seconds of decoding and adding.
  public internal(set) var decodeSeconds = 0.0
  /// Seconds that training would wait.
  public internal(set) var exposedSeconds = 0.0
  /// Seconds a step would be longer: the exposed ones, and those of coding and sending that take a core from computing.
  public internal(set) var costSeconds = 0.0

  init(codec: Codec) {
    self.codec = codec
  }
}

extension GradientExchange {
  /// What a codec would cost in steps like the last one, whose buckets go as they do.
  ///
  /// `hasSpareCore`: whether the exchange's threads have a core that no compute thread wants.
  public func predict(
    _ measurement: CodecMeasurement, link: LinkMeasurement, hasSpareCore: Bool
  ) -> ExchangePrediction {
    var prediction = ExchangePrediction(codec: measurement.codec)
    let others = Double(layout.nodeCount - 1)
    var (floatBytes, sentBytes, hiddenWork) = (0.0, 0.0, 0.0)
    var schedule = PipelineSchedule()
    for (number, submitted) in timing.submitted {
      let cost = measurement.costs[number]
      schedule.wait(until: submitted)
      let isHidden = schedule.end < timing.finishSeconds
      let times = (plan.bucketIndices(of: ranges[number].range) ?? 0..<0).map { index in
        let part = Double(plan.buckets[index].maximumPartCount)
        let hop = link.latencySeconds + others * part * cost.byteCount / link.bytesPerSecond
        let times = PipelineSchedule.BucketTimes(
          partCount: part, others: others, cost: cost, hopSeconds: hop,
          coreSecondsPerByte: link.coreSecondsPerByte)
        prediction.encodeSeconds += cost.encodeSeconds * part * (others + 1)
        prediction.decodeSeconds += cost.decodeSeconds * part * 2 * others
        prediction.wireSeconds += 2 * hop
        floatBytes += 8 * others * part
        sentBytes += 2 * others * part * cost.byteCount
        if isHidden { hiddenWork += times.coreSeconds }
        return times
      }
      // Through shared memory buckets go one after the other.
      if node == nil { schedule.add(times) } else { times.forEach { schedule.add([$0]) } }
    }
    prediction.ratio = sentBytes > 0 ? floatBytes / sentBytes : 1
    prediction.exposedSeconds = max(0, schedule.end - timing.finishSeconds)
    prediction.costSeconds = prediction.exposedSeconds + (hasSpareCore ? 0 : hiddenWork)
    return prediction
  }
}

extension [ExchangePrediction] {
  /// The codec of the shortest step; of those within 2 % of it the most exact.
  ///
  /// `computeSeconds` is what a step takes without exchange. Nil if there is none to choose from.
  public func best(computeSeconds: Double) -> ExchangePrediction? {
    guard let least = map(\.costSeconds).min() else { return nil }
    let limit = 1.02 * (computeSeconds + least)
    return quickestOfEachCodec.filter { computeSeconds + $0.costSeconds <= limit }
      .min { $0.codec.code < $1.codec.code }
  }

  /// One prediction a codec: that of the cheaper way, where there are two.
  public var quickestOfEachCodec: [ExchangePrediction] {
    Codec.allCases.compactMap { codec in
      filter { $0.codec == codec }.min { $0.costSeconds < $1.costSeconds }
    }
  }
}
