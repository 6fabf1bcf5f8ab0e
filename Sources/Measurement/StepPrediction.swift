import Communication

/// What a step is expected to take on a cluster.
package struct StepPrediction: Encodable, Sendable {
  /// Training ranks.
  package let ranks: Int
  /// Nodes.
  package let nodes: Int
  /// What gradients travel with.
  package let codec: String
  /// Seconds of a whole step.
  package let secondsPerStep: Double
  /// Seconds of it in which a rank computes, the update included.
  package let computeSeconds: Double
  /// Seconds of it that are waited for the exchange, or taken by it from computing.
  package let exchangeSeconds: Double
  /// Bytes that a rank sends.
  package let bytesPerStep: Int
  /// How many times fewer bytes than fp32 would take.
  package let ratio: Double
  /// Words of all ranks a second.
  package let tokensPerSecond: Double
  /// Which share of the ranks' speed alone that is.
  package let efficiency: Double
}

extension StepCosts {
  /// Bytes that an element of an exact row takes: digits of gradients are noise, only exponents shrink.
  private static let exactByteCount = 3.4
  /// Seconds that a message takes from the thread that handles it, apart from latency and bytes.
  private static let messageSeconds = 5e-6
  /// Bytes a second of gradient that a rank moves in shared memory, there and back; of the order of one core's share.
  private static let sharedMemoryBytesPerSecond = 4e9

  /// The step with the codec that makes it shortest; of those within 2 % of it the most exact.
  package func prediction(on cluster: Cluster) -> StepPrediction {
    let all = codecs.map { prediction($0, on: cluster) }
    let limit = 1.02 * (all.map(\.secondsPerStep).min() ?? 0)
    guard let best = all.first(where: { $0.secondsPerStep <= limit }) else {
      preconditionFailure("costs of at least one codec")
    }
    return best
  }

  /// The step with one codec.
  ///
  /// Buckets go as they do in training, each when it is ready, and the rows last.
  private func prediction(_ measurement: CodecMeasurement, on cluster: Cluster) -> StepPrediction {
    let others = Double(cluster.nodeCount - 1)
    let slices = Double(cluster.sliceCount)
    var (sentBytes, floatBytes, hiddenWork) = (0.0, 0.0, 0.0)
    var schedule = PipelineSchedule()
    func wire(_ bytes: Double) -> Double {
      sentBytes += bytes
      return 2 * (cluster.link.latencySeconds + others * Self.messageSeconds) + bytes
        / cluster.link.bytesPerSecond
    }
    for (number, share) in ready where cluster.rankCount > 1 {
      schedule.wait(until: share * computeSeconds)
      let cost = measurement.costs[number]
      var buckets: [PipelineSchedule.BucketTimes] = []
      var left = measurement.elementCounts[number]
      while left > 0 {
        let elements = min(left, max(cluster.bucketByteCount / 4, 1))
        left -= elements
        if slices > 1 {
          schedule.wait(until: schedule.end + Double(4 * elements) / Self.sharedMemoryBytesPerSecond)
        }
        guard others > 0 else { continue }
        let part = Double(elements) / Double(cluster.nodeCount) / slices
        let times = PipelineSchedule.BucketTimes(
          chunkCount: part, others: others, cost: cost,
          hopSeconds: wire(2 * others * part * cost.byteCount) / 2,
          coreSecondsPerByte: cluster.link.coreSecondsPerByte)
        if schedule.end < computeSeconds { hiddenWork += times.coreSeconds }
        floatBytes += 8 * others * part
        // Through shared memory buckets go one after the other.
        if slices > 1 { schedule.add([times]) } else { buckets.append(times) }
      }
      schedule.add(buckets)
    }
    var now = schedule.end
    if let sharing, cluster.rankCount > 1 {
      // Nothing is computed meanwhile.
      let peers = Double(cluster.rankCount - 1)
      let bytes = sharing.byteCountToEach(rankCount: cluster.rankCount, rowElementCount: rowElementCount)
      let elsewhere = Double(cluster.rankCount) - slices
      sentBytes += peers * bytes
      floatBytes += peers * bytes
      now =
        max(now, computeSeconds) + elsewhere * bytes / cluster.link.bytesPerSecond
        + Double(sharing.operationCount) * (cluster.link.latencySeconds + peers * Self.messageSeconds)
    } else if others > 0 {
      // Only a node's first rank sends rows, in one message to each other node.
      let rows = rowElementCount * slices
      let decode = measurement.decodeSeconds * rows * others
      floatBytes += 4 * rows * others
      now = max(now, computeSeconds) + decode + wire(rows * Self.exactByteCount * others)
    }
    let exposed = max(0, now - computeSeconds) + (cluster.hasSpareCore ? 0 : hiddenWork)
    let alone = computeSeconds + updateSeconds
    let spared = (sharing?.updateSeconds ?? 0) * (1 - 1 / Double(cluster.rankCount))
    return StepPrediction(
      ranks: cluster.rankCount, nodes: cluster.nodeCount, codec: measurement.codec.rawValue,
      secondsPerStep: alone - spared + exposed, computeSeconds: alone - spared, exchangeSeconds: exposed,
      bytesPerStep: Int(sentBytes), ratio: sentBytes > 0 ? floatBytes / sentBytes : 1,
      tokensPerSecond: Double(tokenCount * cluster.rankCount) / (alone - spared + exposed),
      efficiency: alone / (alone - spared + exposed))
  }
}
