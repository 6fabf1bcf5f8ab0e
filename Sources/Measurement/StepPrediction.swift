import Communication
import LanguageModel
import Training

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
    let fitting = VocabularyLayout.groupSizes(of: cluster.rankCount).filter(fits)
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
    let vocabulary = VocabularyLayout(groupSize: groupSize, trainingRanks: 0..<cluster.rankCount)
    let isSharded = vocabulary.isSharded
    let common = model.prediction(
      measurement, link: cluster.link,
      timing: timing(of: ready.map(\.range).filter { !isSharded || !tiedRanges.contains($0) }),
      rowElementCount: isSharded ? 0 : rowElementCount, hasSpareCore: cluster.hasSpareCore)
    let shards = shardExchange(measurement, of: vocabulary, on: cluster, layout)
    let traffic = common.traffic + shards.traffic
    let exchangeSeconds = common.costSeconds + shards.seconds
    let compute = computeSeconds + updateSeconds - sharding.updateSeconds * (1 - 1 / Double(groupSize))
    let seconds = compute + exchangeSeconds
    return StepPrediction(
      ranks: cluster.rankCount, nodes: layout.nodeCount, codec: measurement.codec.rawValue,
      vocabularyGroup: groupSize, secondsPerStep: seconds, computeSeconds: compute,
      exchangeSeconds: exchangeSeconds, bytesPerStep: Int(traffic.byteCount), ratio: traffic.ratio,
      tokensPerSecond: Double(tokenCount * cluster.rankCount) / seconds,
      efficiency: (computeSeconds + updateSeconds) / seconds)
  }

  /// Traffic and exposed seconds of the shards of a vocabulary: within a group, and between the owners of a shard.
  private func shardExchange(
    _ measurement: CodecMeasurement, of vocabulary: VocabularyLayout, on cluster: Cluster,
    _ layout: NodeLayout
  ) -> (traffic: ExchangeTraffic, seconds: Double) {
    guard vocabulary.isSharded else { return (ExchangeTraffic(), 0) }
    let groupSize = vocabulary.groupSize
    // Nothing is computed meanwhile; what stays on a node costs the link nothing.
    let own = sharding.traffic(vocabulary, rowElementCount: rowElementCount)
    var remote = own
    let localCount = min(cluster.ranksPerNode, groupSize)
    remote.byteCount *= Double(groupSize - localCount) / Double(groupSize - 1)
    let seconds = remote.seconds(over: cluster.link)
    guard !tiedRanges.isEmpty else { return (own, seconds) }
    // It follows the exchange of the other gradients on the same link: it begins when the gradients of looked-up rows have
    // been added, after both passes.
    let largest = sharding.model.vocabularyShard(index: 0, count: groupSize)
    let owners = layout.subset(vocabulary.owners(ofShard: 0))
    let average = exchange.shard(largest, of: tiedRanges, over: owners).prediction(
      measurement, link: cluster.link, timing: timing(afterComputing: tiedRanges),
      hasSpareCore: cluster.hasSpareCore)
    return (own + average.traffic, seconds + average.costSeconds)
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
