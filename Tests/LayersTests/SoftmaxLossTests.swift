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
    ], engines.indices)
  func gradientsMatchCentralDifferences(
    shape: (vocabulary: Int, width: Int, budget: Int), engineIndex: Int
  ) {
    let engine = engines[engineIndex]
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
      vocabularySize: vocabulary, width: width, rowCount: rows, byteBudget: budget, scoringOnly: false,
      engine: engine, in: arena)
    let zGradient = arena.matrix(rowCount: rows, columnCount: width)
    let losses = arena.vector(of: Double.self, count: rows)

    func loss() -> Double {
      weights.refresh()
      layer.score(
        z, targets: targets, weights: weights, into: losses, workspace: workspace, engine: engine)
      return losses.elements.reduce(0, +) * 0.5
    }
    let total = layer.forwardBackward(
      z, targets: targets, scale: 0.5, weights: weights, gradients: gradients, into: zGradient,
      workspace: workspace, engine: engine)
    #expect(abs(total * 0.5 - loss()) < 1e-6)
    expectGradientsMatch(
      weights.checked(against: gradients) + [CheckedTensor(name: "z", values: z, gradient: zGradient)],
      loss: loss)
  }

  @Test func lossOfEqualLogitsIsTheLogarithmOfTheVocabulary() {
    var list = ParameterList()
    let embedding = Embedding(vocabularySize: 5000, width: 2, in: &list)
    let layer = SoftmaxLoss(embedding: embedding.weight, in: &list)
    let engine = engines[1]
    let weights = Weights(ParameterBuffer(list), engine: engine)
    let workspace = SoftmaxWorkspace(
      vocabularySize: 5000, width: 2, rowCount: 1, byteBudget: 1, scoringOnly: true, engine: engine, in: arena
    )
    let losses = arena.vector(of: Double.self, count: 1)
    layer.score(
      arena.matrix(rowCount: 1, columnCount: 2), targets: arena.vector(of: Int32.self, count: 1),
      weights: weights, into: losses, workspace: workspace, engine: engine)
    #expect(abs(losses[0] - log(5000)) < 1e-6)
  }

  @Test func aLogitThatIsNotFiniteGivesALossThatIsNotFinite() {
    var list = ParameterList()
    let embedding = Embedding(vocabularySize: 40, width: 2, in: &list)
    let layer = SoftmaxLoss(embedding: embedding.weight, in: &list)
    let engine = engines[1]
    let weights = Weights(ParameterBuffer(list), engine: engine)
    weights[layer.bias][0, 33] = .nan
    let workspace = SoftmaxWorkspace(
      vocabularySize: 40, width: 2, rowCount: 1, byteBudget: 1, scoringOnly: true, engine: engine, in: arena)
    let losses = arena.vector(of: Double.self, count: 1)
    layer.score(
      arena.matrix(rowCount: 1, columnCount: 2), targets: arena.vector(of: Int32.self, count: 1),
      weights: weights, into: losses, workspace: workspace, engine: engine)
    #expect(!losses[0].isFinite)
  }
}
