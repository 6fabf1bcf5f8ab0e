import Communication

/// The predicted step of a job.
package struct StepPrediction: Encodable, Sendable {
  /// Training ranks.
  package let ranks: Int
  package let nodes: Int
  /// Codec of the gradient.
  package let codec: String
  /// Ranks that share one copy of the vocabulary: 1 for the replicated matrix, all for the fully sharded one.
  package let vocabularyGroup: Int
  package let secondsPerStep: Double
  /// Seconds of compute in it, the update included.
  package let computeSeconds: Double
  /// Seconds of exposed communication in it, and of coding that takes a core from computing.
  package let exchangeSeconds: Double
  /// Bytes that a rank sends.
  package let bytesPerStep: Int
  /// Compression ratio against fp32.
  package let ratio: Double
  /// Tokens/s over all ranks.
  package let tokensPerSecond: Double
  /// Fraction of the throughput without an exchange.
  package let efficiency: Double
}

extension StepCosts {
  /// The step with the codec and the vocabulary groups that make it shortest.
  ///
  /// Groups divide the number of ranks and `fit` in memory; where none does, all ranks are one group. Of steps within 2 % of
  /// the shortest the smallest group is preferred, then the most exact codec.
  package func best(on cluster: Cluster, fits: (_ groupSize: Int) -> Bool = { _ in true }) -> StepPrediction {
    let divisors = (1...cluster.rankCount).filter { cluster.rankCount.isMultiple(of: $0) }
    let fitting = sharding == nil ? [1] : divisors.filter(fits)
    return preferred((fitting.isEmpty ? [cluster.rankCount] : fitting).flatMap { steps($0, on: cluster) })
  }

  /// The step with the codec that makes it shortest, of those within 2 % of it the most exact; `groupSize` ranks share one
  /// copy of the vocabulary.
  package func prediction(on cluster: Cluster, groupSize: Int = 1) -> StepPrediction {
    preferred(steps(groupSize, on: cluster))
  }

  private func steps(_ groupSize: Int, on cluster: Cluster) -> [StepPrediction] {
    let layout = cluster.layout
    let model = exchange.over(layout)
    return codecs.map { prediction($0, on: cluster, layout, model, groupSize: groupSize) }
  }

  private func preferred(_ steps: [StepPrediction]) -> StepPrediction {
    guard let step = steps.firstNearMinimum(\.secondsPerStep) else {
      preconditionFailure("costs of at least one codec")
    }
    return step
  }

  private func prediction(
    _ measurement: CodecMeasurement, on cluster: Cluster, _ layout: NodeLayout, _ model: ExchangeModel,
    groupSize: Int
  ) -> StepPrediction {
    let isSharded = groupSize > 1
    var costs = model.prediction(
      measurement, link: cluster.link,
      timing: timing(of: ready.map(\.range).filter { !isSharded || !tiedRanges.contains($0) }),
      rowElementCount: isSharded ? 0 : rowElementCount, hasSpareCore: cluster.hasSpareCore)
    var (traffic, seconds) = (costs.traffic, costs.costSeconds)
    if isSharded, let sharding, !tiedRanges.isEmpty {
      // Ranks of different groups that own the same rows; their exchange follows the other one on the same link. It begins when
      // the gradients of looked-up rows have been added, after both passes.
      let owners = stride(from: 0, to: cluster.rankCount, by: groupSize).map { $0 }
      let largest = sharding.model.vocabularyShard(index: 0, count: groupSize)
      costs = exchange.shard(largest, of: tiedRanges, over: layout.subset(owners)).prediction(
        measurement, link: cluster.link, timing: timing(afterComputing: tiedRanges),
        hasSpareCore: cluster.hasSpareCore)
      traffic += costs.traffic
      seconds += costs.costSeconds
    }
    if isSharded, let sharding {
      // Nothing is computed meanwhile; what stays on a node costs the link nothing.
      let own = sharding.traffic(groupSize: groupSize, rowElementCount: rowElementCount)
      var remote = own
      let localCount = min(cluster.ranksPerNode, groupSize)
      remote.byteCount *= Double(groupSize - localCount) / Double(groupSize - 1)
      traffic += own
      seconds += remote.seconds(over: cluster.link)
    }
    let spared = isSharded ? (sharding?.updateSeconds ?? 0) * (1 - 1 / Double(groupSize)) : 0
    let compute = computeSeconds + updateSeconds - spared
    return StepPrediction(
      ranks: cluster.rankCount, nodes: layout.nodeCount, codec: measurement.codec.rawValue,
      vocabularyGroup: groupSize, secondsPerStep: compute + seconds, computeSeconds: compute,
      exchangeSeconds: seconds, bytesPerStep: Int(traffic.byteCount), ratio: traffic.ratio,
      tokensPerSecond: Double(tokenCount * cluster.rankCount) / (compute + seconds),
      efficiency: (computeSeconds + updateSeconds) / (compute + seconds))
  }

  /// The timing of these ranges, as measured.
  private func timing(of ranges: [Int]) -> StepTiming {
    var timing = StepTiming()
    timing.submitted = ready.filter { ranges.contains($0.range) }.map {
      ($0.range, $0.fraction * computeSeconds)
    }
    timing.finishSeconds = computeSeconds
    return timing
  }

  /// The timing of ranges that are submitted after the last of the compute.
  private func timing(afterComputing ranges: [Int]) -> StepTiming {
    var timing = StepTiming()
    timing.submitted = ranges.map { ($0, computeSeconds) }
    timing.finishSeconds = computeSeconds
    return timing
  }
}
