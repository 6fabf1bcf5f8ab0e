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

  /// Inputs and targets of four bytes, of all lanes of the group where the vocabulary is sharded.
  @Test(arguments: [("replicated", 3), ("2", 6)])
  func theTokensReadAheadCount(vocabulary: String, laneCount: Int) throws {
    let bench = try TrainingBench(tokenCount: 3000, validTokenCount: 700, wordCount: 2500)
    let engine = try bench.configuration().training.engine(aloneRanks())
    let needs = try [1, 3].map { segments in
      try MemoryNeed(
        bench.configuration("exchange.vocabulary=\(vocabulary)", "training.accumulate=\(segments)"),
        vocabularySize: 2500, rank: 1, nodes: NodeLayout(nodeOfRank: [0, 1, 2, 3]), engine: engine
      ).step
    }
    #expect(needs[1] - needs[0] == 2 * 8 * 6 * laneCount)
  }

  /// In a separate process, whose memory nothing else changes; replicated, because shards are sent as copies between the
  /// ranks of a process; `MemoryTests` of the commands has processes for ranks.
  @Test func predictionsAreTheMemoryOfAProcessThatTrains() async {
    await #expect(processExitsWith: .success) {
      let bench = try TrainingBench(tokenCount: 3000, validTokenCount: 700, wordCount: 2500)
      let words = try Corpus(opening: URL(filePath: bench.corpus)).vocabulary.count
      /// The most memory after a run with this embedding, and the predicted memory of both ranks.
      func train(embedding: Int) throws -> (found: Double, need: Double) {
        let configuration = try bench.configuration(
          "model.variant=lstm", "model.embedding=\(embedding)", "exchange.codec=int8",
          "exchange.vocabulary=replicated", "training.steps=4", "coordinator.checkpointEvery=2",
          "coordinator.evaluateEvery=2", "exchange.hashEvery=0")
        try bench.train(configuration, output: "\(embedding)", rankCount: 2)
        let engine = try configuration.training.engine(aloneRanks())
        let needs = try (0..<2).map {
          try MemoryNeed(
            configuration, vocabularySize: words, rank: $0, nodes: NodeLayout(nodeOfRank: [0, 1]),
            engine: engine
          ).byteCount
        }
        return (Double(Host.peakByteCount), Double(needs[0] + needs[1]))
      }
      // The difference is free of what does not depend on the model: code, libraries, threads.
      let (small, large) = (try train(embedding: 12), try train(embedding: 1500))
      let (found, need) = (large.found - small.found, large.need - small.need)
      #expect(found < 1.4 * need && found > 0.8 * need, "predicted \(need), found \(found)")
    }
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
