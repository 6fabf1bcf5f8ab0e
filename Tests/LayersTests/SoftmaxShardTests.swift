import Foundation
import Layers
import Tensors
import Testing

/// The softmax over a vocabulary that is sharded.
@Suite struct SoftmaxShardTests {
  /// All of them must use the same chunks of rows, or they would deadlock.
  @Test(.timeLimit(.minutes(2)), arguments: [1, 2, 3, 7], [Precision.float32, .bfloat16])
  func shardsTogetherHaveLossAndGradientsOfTheWhole(
    shardCount: Int, precision: Precision
  ) throws {
    for (threshold, defers): (Float, Bool) in [(0, true), (1e-3, true), (0, false), (1e-3, false)] {
      let whole = try SoftmaxBench().run(
        ComputeEngine(precision: precision), threshold: threshold)
      let shards = SoftmaxBench().run(
        shardCount: shardCount, precision: precision, threshold: threshold, defers: defers)
      #expect(abs(shards.loss - whole.loss) < 1e-6 * whole.loss)
      // Which blocks are below a threshold depends on the rows of a chunk.
      let tolerance = threshold == 0 && precision == .float32 ? 1e-5 : 8e-3
      for (name, gradient) in whole.gradients {
        let error = relativeError(shards.gradients[name], gradient)
        #expect(error < tolerance, "\(name) of \(shardCount) shards is off by \(error)")
      }
    }
  }
}

extension SoftmaxBench {
  /// The same by shards of the vocabulary, each on its own thread, and their combined results.
  ///
  /// A budget of three chunks for the largest of two shards; the last of seven has no rows.
  func run(shardCount: Int, precision: Precision, threshold: Float, defers: Bool) -> (
    loss: Double, gradients: [String: [Float]]
  ) {
    let gatheringRound = GatheringRound(count: shardCount)
    let gradients = ParameterBuffer(weights.list)
    let zGradients = (0..<shardCount).map { _ in arena.matrix(rowCount: Self.rowCount, columnCount: 24) }
    let losses = arena.vector(of: Double.self, count: shardCount)
    let group = DispatchGroup()
    for index in 0..<shardCount {
      group.enter()
      Thread {
        let engine = ComputeEngine(precision: precision)
        let arena = Arena()
        let shard = SoftmaxWorkspace.shard(of: 2500, index: index, count: shardCount)
        let workspace = SoftmaxWorkspace(
          shard: shard, width: 24, rowCount: Self.rowCount, byteBudget: 30 * 1536 * 2,
          threshold: threshold, scoringOnly: false, deferring: true, engine: engine, in: arena)
        let all = SoftmaxRows(
          output: z, targets: targets, gradient: zGradients[index],
          ownRows: Self.rowCount * index / shardCount..<Self.rowCount * (index + 1) / shardCount)
        let vocabulary = ThreadedShards(shard, round: gatheringRound, defers: defers)
        do {
          let (loss, deferred) = try layer.forwardBackward(
            all, scale: 1 / Float(Self.rowCount), weights: Weights(weights, engine: engine),
            gradients: gradients, workspace: workspace, vocabulary: vocabulary, sink: nil)
          #expect((deferred != nil) == defers)
          try deferred?.add(sink: nil)
          losses[index] = loss
        } catch {
          Issue.record(error)
        }
        withExtendedLifetime(arena) {}
        group.leave()
      }.start()
    }
    group.wait()
    let zGradient = zGradients.dropFirst().reduce(into: zGradients[0].elements) { sums, part in
      for (place, value) in part.elements.enumerated() { sums[place] += value }
    }
    return (
      losses.elements.reduce(0, +),
      [
        "matrix": gradients[layer.embedding].elements, "bias": gradients[layer.bias].elements,
        "z": zGradient,
      ]
    )
  }
}

/// A shard of a vocabulary whose rows of z are known to all threads.
private final class ThreadedShards: VocabularyShards {
  let shard: RowShard
  let defersMatrixGradient: Bool
  var gradientDivisor: Float { 1 }
  private let round: GatheringRound

  init(_ shard: RowShard, round: GatheringRound, defers: Bool) {
    self.shard = shard
    self.round = round
    defersMatrixGradient = defers
  }

  func fetchRows(into table: Matrix) {}
  func gather(_ own: SoftmaxRows) -> SoftmaxRows { own }
  func scatter(_ all: SoftmaxRows, into own: SoftmaxRows) {}

  func combine(_ statistics: SoftmaxStatistics) {
    statistics.merge(round.gather(statistics.numbers, of: shard.index).map(SoftmaxStatistics.init))
  }
}

/// Threads that all-gather numbers in rounds.
private final class GatheringRound: @unchecked Sendable {
  private let condition = NSCondition()
  private let arena = Arena()
  private let count: Int
  private var given: [Vector<Double>?]
  private var round = 0
  private var results: [Vector<Double>] = []

  init(count: Int) {
    self.count = count
    given = Array(repeating: nil, count: count)
  }

  /// The numbers of all in this round, by index.
  func gather(_ own: Vector<Double>, of index: Int) -> [Vector<Double>] {
    condition.withLock {
      let copy = arena.vector(of: Double.self, count: own.count)
      copy.data.update(from: own.data, count: own.count)
      given[index] = copy
      let mine = round
      if given.allSatisfy({ $0 != nil }) {
        results = given.compactMap { $0 }
        given = Array(repeating: nil, count: count)
        round += 1
        condition.broadcast()
      }
      while round == mine { condition.wait() }
      return results
    }
  }
}
