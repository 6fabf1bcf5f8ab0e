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
    let engine = try kind.make()
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
    let engine = try ComputeEngine(threadCount: 2, precision: precision)
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

  @Test func lossOfEqualLogitsIsTheLogarithmOfTheVocabulary() throws {
    var list = ParameterList()
    let embedding = Embedding(vocabularySize: 5000, width: 2, in: &list)
    let layer = SoftmaxLoss(embedding: embedding.weight, in: &list)
    let engine = try TestedEngine.fast.make()
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

  @Test func aNonFiniteLogitGivesANonFiniteLoss() throws {
    var list = ParameterList()
    let embedding = Embedding(vocabularySize: 40, width: 2, in: &list)
    let layer = SoftmaxLoss(embedding: embedding.weight, in: &list)
    let engine = try TestedEngine.fast.make()
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

  /// Five blocks of tokens in up to five ranges, rows in three chunks.
  @Test(arguments: [2, 3, 5, 9], [1, 2, 3])
  func rangesAreFinishedInTheirOrderAndChangeNothing(rangeCount: Int, threadCount: Int) throws {
    let engine = try ComputeEngine(threadCount: threadCount)
    let whole = try SoftmaxBench().run(engine)
    let bench = SoftmaxBench(rangeCount: rangeCount)
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

  /// Logits whose exponentials overflow.
  @Test(arguments: TestedEngine.allCases) func hugeLogitsGiveFiniteLossAndGradients(kind: TestedEngine) throws
  {
    let bench = SoftmaxBench()
    for token in stride(from: 0, to: 2500, by: 3) { bench.weights[bench.layer.bias][0, token] = 3e4 }
    bench.weights[bench.layer.bias][0, 7] = -3e4
    let result = try bench.run(try kind.make())
    #expect(result.loss.isFinite)
    #expect(result.gradients.values.allSatisfy { $0.allSatisfy(\.isFinite) })
  }

  /// An engine's first call, which allocates its scratch memory, has the results of every later one.
  @Test(arguments: [Precision.float32, .bfloat16]) func theFirstCallOfAnEngineEqualsTheNext(
    precision: Precision
  ) throws {
    let bench = SoftmaxBench()
    let expected = try bench.run(ComputeEngine(precision: precision))
    for _ in 0..<10 {
      let found = try bench.run(try ComputeEngine(threadCount: 4, precision: precision))
      #expect(found.loss == expected.loss)
      #expect(found.gradients["matrix"] == expected.gradients["matrix"])
    }
  }
}
