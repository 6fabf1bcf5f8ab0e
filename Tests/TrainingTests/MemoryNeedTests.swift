import Communication
import Corpus
import Foundation
import Platform
import TestSupport
import Testing
import Training

/// The predicted memory of a rank is what its parts allocate.
@Suite struct MemoryNeedTests {
  @Test(
    arguments: [
      ["model.variant=lstm", "exchange.codec=none"],
      ["exchange.codec=int8", "optimizer.kind=sgd", "training.accumulate=2"],
      ["model.form=lowrank", "exchange.vocabulary=2", "exchange.codec=int8"],
      ["exchange.vocabulary=sharded", "coordinator.placement=dedicated", "training.segment=7"],
    ], [1, 2])
  func predictionsAreTheBytesAllocatedByEachRank(settings: [String], ranksPerNode: Int) throws {
    let bench = try TrainingBench(tokenCount: 3000, validTokenCount: 700, wordCount: 2500)
    let isDedicated = settings.contains("coordinator.placement=dedicated")
    let configuration = try bench.configuration(settings: settings)
    let counts = try bench.memory(
      configuration, rankCount: isDedicated ? 5 : 4, ranksPerNode: ranksPerNode)
    for (rank, count) in counts.enumerated() {
      let (need, found) = (count.need, count.found)
      // Buffers without elements have a byte each.
      #expect(abs(need.state - found.state) <= 64, "rank \(rank): \(need.state), \(found.state)")
      #expect(abs(need.step - found.step) <= 64, "rank \(rank): \(need.step), \(found.step)")
      #expect(
        abs(need.packed - found.packed) <= max(need.packed, found.packed) / 10,
        "rank \(rank): \(need.packed), \(found.packed)")
    }
    #expect(counts[0].need.snapshot > counts[1].need.snapshot)
  }
}

extension TrainingBench {
  typealias Found = (state: Int, step: Int, packed: Int)

  /// By rank: the predicted bytes, and those allocated after one step.
  fileprivate func memory(
    _ configuration: RunConfiguration, rankCount: Int, ranksPerNode: Int
  ) throws -> [(need: MemoryNeed, found: Found)] {
    try onLocalJob(rankCount, ranksPerNode: ranksPerNode) { try memory(configuration, $0) }
  }

  private func memory(
    _ configuration: RunConfiguration, _ ranks: Ranks
  ) throws -> (need: MemoryNeed, found: Found) {
    let corpus = try Corpus(opening: URL(filePath: corpus))
    let engine = try configuration.training.engine(ranks)
    let data = try TrainingData(
      corpus.tokens(.train), endOfSentenceID: corpus.vocabulary.endOfSentenceID,
      configuration: configuration, ranks: ranks)
    let state = try TrainingState(
      configuration, text: TextIdentity(corpus), ranks: ranks, engine: engine,
      thread: try CommunicationThread())
    let step = Step(state, data: data)
    _ = try step.run()
    let need = try MemoryNeed(
      configuration, vocabularySize: corpus.vocabulary.count, ranks: ranks, engine: engine)
    return (need, (state.byteCount, step.byteCount, state.pass.allocatedPackedByteCount))
  }
}
