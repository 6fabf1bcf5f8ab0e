import Foundation
import Layers
import Tensors
import Testing

@Suite struct SoftmaxLossTests {
  let arena = Arena()

  /// Budgets of bytes that hold all rows at once, three rows, and less than one; vocabularies of one block and of three.
  @Test(
    arguments: [
      (vocabulary: 7, width: 3, budget: 1 << 20), (35, 6, 3 * 35 * 4), (35, 6, 1), (1100, 2, 1 << 20),
    ], TestedEngine.allCases)
  func gradientsMatchCentralDifferences(
    shape: (vocabulary: Int, width: Int, budget: Int), kind: TestedEngine
  ) throws {
    let engine = kind.make()
    let (vocabulary, width, budget) = shape
    var list = ParameterList()
    let embedding = Embedding(vocabularySize: vocabulary, width: width, in: &list)
    let layer = SoftmaxLoss(embedding: embedding.weight, in: &list)
    let weights = Weights(ParameterBuffer(list), engine: engine)
    let gradients = ParameterBuffer(list)
    weights.values.randomize(engine: engine)
    let rows = 8
    let z = arena.matrix(rowCount: rows, columnCount: width)
    z.randomize("z", limit: 2, engine: engine)
    let targets = arena.vector(of: Int32.self, count: rows)
    for row in 0..<rows { targets[row] = Int32(row * 5 % vocabulary) }
    let workspace = SoftmaxWorkspace(
      shard: SoftmaxWorkspace.shard(of: vocabulary), width: width, rowCount: rows, byteBudget: budget,
      scoringOnly: false,
      engine: engine, in: arena)
    let zGradient = arena.matrix(rowCount: rows, columnCount: width)
    let losses = arena.vector(of: Double.self, count: rows)

    func loss() -> Double {
      weights.refresh()
      layer.score(
        z, targets: targets, weights: weights, into: losses, workspace: workspace)
      return losses.elements.reduce(0, +) * 0.5
    }
    let total = try layer.forwardBackward(
      SoftmaxRows(output: z, targets: targets, gradient: zGradient), scale: 0.5, weights: weights,
      gradients: gradients, workspace: workspace, vocabulary: WholeVocabulary(vocabularySize: vocabulary),
      sink: nil
    ).loss
    #expect(abs(total * 0.5 - loss()) < 1e-6)
    expectGradientsMatch(
      weights.checked(against: gradients) + [CheckedTensor(name: "z", values: z, gradient: zGradient)],
      loss: loss)
  }

  /// Scoring uses packed panels in bfloat16 and tiles of rows; training uses chunks.
  @Test(arguments: [Precision.float32, .bfloat16]) func scoresAddUpToTheLossOfTraining(
    precision: Precision
  ) throws {
    let engine = ComputeEngine(threadCount: 2, precision: precision)
    let (vocabulary, width, rows) = (1100, 24, 600)
    var list = ParameterList()
    let embedding = Embedding(vocabularySize: vocabulary, width: width, in: &list)
    let layer = SoftmaxLoss(embedding: embedding.weight, in: &list)
    let weights = Weights(ParameterBuffer(list), engine: engine)
    weights.values.randomize(engine: engine)
    let z = arena.matrix(rowCount: rows, columnCount: width)
    z.randomize("z", limit: 2, engine: engine)
    let targets = arena.vector(of: Int32.self, count: rows)
    for row in 0..<rows { targets[row] = Int32(row * 37 % vocabulary) }
    func workspace(scoringOnly: Bool) -> SoftmaxWorkspace {
      SoftmaxWorkspace(
        shard: SoftmaxWorkspace.shard(of: vocabulary), width: width, rowCount: rows,
        byteBudget: 150 * vocabulary * 4,
        scoringOnly: scoringOnly, engine: engine, in: arena)
    }
    let loss = try layer.forwardBackward(
      SoftmaxRows(
        output: z, targets: targets, gradient: arena.matrix(rowCount: rows, columnCount: width)),
      scale: 1, weights: weights, gradients: ParameterBuffer(list),
      workspace: workspace(scoringOnly: false), vocabulary: WholeVocabulary(vocabularySize: vocabulary),
      sink: nil
    ).loss
    let scores = arena.vector(of: Double.self, count: rows)
    layer.score(
      z, targets: targets, weights: weights, into: scores, workspace: workspace(scoringOnly: true))
    #expect(abs(scores.elements.reduce(0, +) - loss) < 1e-6 * loss)
  }

  @Test func lossOfEqualLogitsIsTheLogarithmOfTheVocabulary() {
    var list = ParameterList()
    let embedding = Embedding(vocabularySize: 5000, width: 2, in: &list)
    let layer = SoftmaxLoss(embedding: embedding.weight, in: &list)
    let engine = TestedEngine.fast.make()
    let weights = Weights(ParameterBuffer(list), engine: engine)
    let workspace = SoftmaxWorkspace(
      shard: SoftmaxWorkspace.shard(of: 5000), width: 2, rowCount: 1, byteBudget: 1, scoringOnly: true,
      engine: engine, in: arena
    )
    let losses = arena.vector(of: Double.self, count: 1)
    layer.score(
      arena.matrix(rowCount: 1, columnCount: 2), targets: arena.vector(of: Int32.self, count: 1),
      weights: weights, into: losses, workspace: workspace)
    #expect(abs(losses[0] - log(5000)) < 1e-6)
  }

  @Test func aNonFiniteLogitGivesANonFiniteLoss() {
    var list = ParameterList()
    let embedding = Embedding(vocabularySize: 40, width: 2, in: &list)
    let layer = SoftmaxLoss(embedding: embedding.weight, in: &list)
    let engine = TestedEngine.fast.make()
    let weights = Weights(ParameterBuffer(list), engine: engine)
    weights[layer.bias][0, 33] = .nan
    let workspace = SoftmaxWorkspace(
      shard: SoftmaxWorkspace.shard(of: 40), width: 2, rowCount: 1, byteBudget: 1, scoringOnly: true,
      engine: engine, in: arena)
    let losses = arena.vector(of: Double.self, count: 1)
    layer.score(
      arena.matrix(rowCount: 1, columnCount: 2), targets: arena.vector(of: Int32.self, count: 1),
      weights: weights, into: losses, workspace: workspace)
    #expect(!losses[0].isFinite)
  }

  /// A vocabulary of five blocks, logits that leave most of the probability to the first.
  private struct Bench {
    let arena = Arena()
    let layer: SoftmaxLoss
    let weights: ParameterBuffer
    let z: Matrix
    let targets: Vector<Int32>
    static let rowCount = 70

    init(rangeCount: Int = 1) {
      let engine = TestedEngine.reference.make()
      var list = ParameterList()
      let embedding = Embedding(vocabularySize: 2500, width: 24, in: &list)
      layer = SoftmaxLoss(embedding: embedding.weight, rangeCount: rangeCount, in: &list)
      weights = ParameterBuffer(list)
      weights.randomize(limit: 0.4, engine: engine)
      for token in 600..<2500 { weights[layer.bias][0, token] -= 12 }
      z = arena.matrix(rowCount: Self.rowCount, columnCount: 24)
      z.randomize("z", limit: 1.5, engine: engine)
      targets = arena.vector(of: Int32.self, count: Self.rowCount)
      for row in 0..<Self.rowCount { targets[row] = Int32(row * 37 % 2500) }
    }

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
          let engine = ComputeEngine(threadCount: 1, precision: precision)
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

    func run(
      _ engine: ComputeEngine, threshold: Float = 0,
      finished: @escaping (GradientRange, [Float]) -> Void = { _, _ in }
    ) throws -> (loss: Double, gradients: [String: [Float]]) {
      let gradients = ParameterBuffer(weights.list)
      let zGradient = arena.matrix(rowCount: Self.rowCount, columnCount: 24)
      let workspace = SoftmaxWorkspace(
        shard: SoftmaxWorkspace.shard(of: 2500), width: 24, rowCount: Self.rowCount,
        byteBudget: 30 * 2500 * 4, threshold: threshold, scoringOnly: false, engine: engine, in: arena)
      let (loss, _) = try layer.forwardBackward(
        SoftmaxRows(output: z, targets: targets, gradient: zGradient), scale: 1 / Float(Self.rowCount),
        weights: Weights(weights, engine: engine), gradients: gradients, workspace: workspace,
        vocabulary: WholeVocabulary(vocabularySize: 2500), sink: RangeSink(gradients, finished))
      return (
        loss,
        [
          "matrix": gradients[layer.embedding].elements, "bias": gradients[layer.bias].elements,
          "z": zGradient.elements,
        ]
      )
    }
  }

  /// Five blocks of tokens in up to five ranges, rows in three chunks.
  @Test(arguments: [2, 3, 5, 9], [1, 2, 3])
  func rangesAreFinishedInTheirOrderAndChangeNothing(rangeCount: Int, threadCount: Int) throws {
    let engine = ComputeEngine(threadCount: threadCount)
    let whole = try Bench().run(engine)
    let bench = Bench(rangeCount: rangeCount)
    let (matrix, bias) = (bench.layer.embedding, bench.layer.bias)
    var (end, elements) = (0, [Float]())
    let inRanges = try bench.run(engine) { range, finished in
      #expect(range.range.lowerBound == end)
      #expect(range.rowLength == nil || finished.count <= (5 / min(rangeCount, 5) + 1) * 512 * 24)
      end = range.range.upperBound
      elements += finished
    }
    #expect(end == bench.weights.list.elementCount)
    #expect(inRanges.loss == whole.loss && inRanges.gradients == whole.gradients)
    #expect(
      Array(elements[matrix.range]) == whole.gradients["matrix"], "nothing is added to what was finished")
    #expect(Array(elements[bias.range]) == whole.gradients["bias"], "nothing is added to what was finished")
  }

  /// All of them must use the same chunks of rows, or they would deadlock.
  @Test(.timeLimit(.minutes(2)), arguments: [1, 2, 3, 7], [Precision.float32, .bfloat16])
  func shardsTogetherHaveLossAndGradientsOfTheWhole(
    shardCount: Int, precision: Precision
  ) throws {
    for (threshold, defers): (Float, Bool) in [(0, true), (1e-3, true), (0, false), (1e-3, false)] {
      let whole = try Bench().run(ComputeEngine(threadCount: 1, precision: precision), threshold: threshold)
      let shards = Bench().run(
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

  private func relativeError(_ found: [Float]?, _ expected: [Float]?) -> Double {
    guard let found, let expected else { return .infinity }
    let difference = zip(found, expected).reduce(0.0) { $0 + pow(Double($1.0) - Double($1.1), 2) }
    return (difference / expected.reduce(0.0) { $0 + pow(Double($1), 2) }).squareRoot()
  }

  /// Rounding to bfloat16 has a relative error of up to 2⁻⁹ per factor; without oneDNN both are the same.
  @Test(arguments: [1, 3]) func bfloat16StaysNearTheExactLossAndGradients(threadCount: Int) throws {
    let bench = Bench()
    let exact = try bench.run(TestedEngine.reference.make())
    let rounded = try bench.run(ComputeEngine(threadCount: threadCount, precision: .bfloat16))
    #expect(abs(rounded.loss - exact.loss) < 2e-3 * exact.loss)
    for (name, gradient) in exact.gradients {
      let error = relativeError(rounded.gradients[name], gradient)
      #expect(error < 8e-3, "\(name) is off by \(error)")
    }
  }

  /// Blocks without a probable token use a product of two vectors for their probabilities: sums over rows, among them the bias's
  /// gradient, stay exact, and so do sums over a block's tokens.
  @Test(arguments: TestedEngine.allCases) func aThresholdKeepsTheSumsOfBlocksBelowIt(kind: TestedEngine)
    throws
  {
    let bench = Bench()
    let exact = try bench.run(kind.make())
    let all = try bench.run(kind.make(), threshold: 1e-12)
    let factored = try bench.run(kind.make(), threshold: 1e-3)
    #expect(all.loss == exact.loss && factored.loss == exact.loss)
    for (name, gradient) in exact.gradients {
      #expect(all.gradients[name] == gradient)
      let error = relativeError(factored.gradients[name], gradient)
      #expect(error < 4e-3, "\(name) is off by \(error)")
    }
    #expect(relativeError(factored.gradients["bias"], exact.gradients["bias"]) < 1e-6)
    #expect(factored.gradients["matrix"] != exact.gradients["matrix"])
    let (found, expected) = (
      try #require(factored.gradients["matrix"]), try #require(exact.gradients["matrix"])
    )
    for tokens in [1024..<1536, 1536..<2048, 2048..<2500] {
      let (sums, exactSums) = (columnSums(found, tokens), columnSums(expected, tokens))
      #expect(relativeError(sums, exactSums) < (kind == .fast ? 4e-3 : 1e-5))
    }
  }

  /// Tokens of a block that differ only in their biases have the same fraction of it in every row.
  @Test(arguments: TestedEngine.allCases) func aThresholdChangesNothingWhereTokensDifferOnlyInBias(
    kind: TestedEngine
  ) throws {
    let bench = Bench()
    let matrix = bench.weights[bench.layer.embedding]
    for token in 1024..<2500 {
      matrix.row(token).update(from: matrix.row(token / 512 * 512), count: matrix.columnCount)
    }
    let exact = try bench.run(kind.make())
    let factored = try bench.run(kind.make(), threshold: 1e-3)
    for (name, gradient) in exact.gradients {
      let error = relativeError(factored.gradients[name], gradient)
      #expect(error < (kind == .fast ? 4e-4 : 1e-6), "\(name) is off by \(error)")
    }
  }

  private func columnSums(_ elements: [Float], _ rows: Range<Int>) -> [Float] {
    (0..<24).map { column in rows.reduce(0) { $0 + elements[$1 * 24 + column] } }
  }

  /// Logits whose exponentials overflow.
  @Test(arguments: TestedEngine.allCases) func hugeLogitsGiveFiniteLossAndGradients(kind: TestedEngine) throws
  {
    let bench = Bench()
    for token in stride(from: 0, to: 2500, by: 3) { bench.weights[bench.layer.bias][0, token] = 3e4 }
    bench.weights[bench.layer.bias][0, 7] = -3e4
    let result = try bench.run(kind.make())
    #expect(result.loss.isFinite)
    #expect(result.gradients.values.allSatisfy { $0.allSatisfy(\.isFinite) })
  }

  /// An engine's first call, which allocates its scratch memory, has the results of every later one.
  @Test(arguments: [Precision.float32, .bfloat16]) func theFirstCallOfAnEngineEqualsTheNext(
    precision: Precision
  ) throws {
    let bench = Bench()
    let expected = try bench.run(ComputeEngine(threadCount: 1, precision: precision))
    for _ in 0..<10 {
      let found = try bench.run(ComputeEngine(threadCount: 4, precision: precision))
      #expect(found.loss == expected.loss)
      #expect(found.gradients["matrix"] == expected.gradients["matrix"])
    }
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

/// A sink that records each range with its elements when it is finished.
private final class RangeSink: GradientSink {
  private let gradients: ParameterBuffer
  private let finished: (GradientRange, [Float]) -> Void

  init(_ gradients: ParameterBuffer, _ finished: @escaping (GradientRange, [Float]) -> Void) {
    self.gradients = gradients
    self.finished = finished
  }

  func finish(_ range: GradientRange) { finished(range, gradients.flat.columns(range.range).elements) }
  func finish(rows: Matrix, of tokens: Vector<Int32>) {}
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
