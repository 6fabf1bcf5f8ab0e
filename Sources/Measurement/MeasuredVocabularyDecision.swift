import Communication
import Foundation
import Training

/// Decides `exchange.vocabulary: auto` by the cost model, from some steps that are measured on the ranks of the run.
package struct MeasuredVocabularyDecision: VocabularyDecision {
  /// The decision of `milm train`.
  package init() {}

  /// The group size of the shortest step with its best codec, of those that fit in memory.
  ///
  /// Replicated steps are measured. Where they do not fit, the smallest group size that fits is taken unmeasured.
  package func decide(
    _ configuration: RunConfiguration, corpus: String, vocabularySize: Int, ranks: Ranks
  ) throws -> VocabularyChoice {
    let rankCount = try LaneLayout(configuration, rankCount: ranks.rankCount).trainingRanks.count
    let engine = try configuration.training.engine(ranks)
    let memory = try ranks.control.hostShare().memory
    let fitting = try VocabularyLayout.groupSizes(of: rankCount).filter { groupSize in
      let need = try MemoryNeed(
        configuration, vocabularySize: vocabularySize, ranks: ranks, engine: engine,
        vocabularyGroupSize: groupSize)
      return try ranks.control.maximum(
        "memory of groups", need.isAvailable(in: memory) ? 0 : 1) == 0
    }
    guard fitting.first == 1 else {
      return VocabularyChoice(
        groupSize: fitting.first ?? rankCount, reason: "auto: a replicated vocabulary does not fit in memory")
    }
    let benchmark = Benchmark(configuration, corpusPath: corpus, vocabularySize: vocabularySize, ranks: ranks)
    let probe = try PlanProbe(benchmark, rankCount: ranks.rankCount).run()
    let layout = ranks.gradients.layout.limited(to: configuration.exchange.ranksPerNode)
    // On one node only the exchanges within a group are sent, through shared memory.
    let link =
      layout.nodeCount > 1
      ? probe.link : try ranks.control.measureLink(with: Array(0..<ranks.rankCount), seconds: 0.2)
    // The other ranks' choices are ignored, and a rank that leads no partition has not measured the link.
    guard let link else { return VocabularyChoice(groupSize: 1, reason: "auto: no link was measured") }
    let cluster = Cluster(
      rankCount: rankCount, ranksPerNode: min(layout.largestNodeSize, rankCount), link: link,
      hasSpareCore: probe.hasSpareCore)
    return Self.choice(probe.costs, cluster, fitting: fitting)
  }

  /// The choice from measured costs; `fitting` are the group sizes that fit in memory, 1 among them.
  static func choice(_ costs: StepCosts, _ cluster: Cluster, fitting: [Int]) -> VocabularyChoice {
    let best = costs.best(on: cluster, fits: fitting.contains)
    let isSharded = best.vocabularyGroup > 1
    let other = costs.best(on: cluster) { fitting.contains($0) && ($0 > 1) != isSharded }
    let reason = String(
      format: "auto: %.4f s per step predicted with %@, %.4f s %@ with %@", best.secondsPerStep, best.codec,
      other.secondsPerStep, isSharded ? "replicated" : "in groups of \(other.vocabularyGroup)", other.codec)
    return VocabularyChoice(groupSize: best.vocabularyGroup, reason: reason)
  }
}
