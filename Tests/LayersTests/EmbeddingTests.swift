import Layers
import Tensors
import Testing

@Suite struct EmbeddingTests {
  let engine = ComputeEngine()
  let arena = Arena()

  @Test func rowGradientsMatchCentralDifferences() {
    var list = ParameterList()
    let layer = Embedding(vocabularySize: 9, width: 3, in: &list)
    let weights = ParameterBuffer(list)
    let gradients = ParameterBuffer(list)
    weights.randomize(engine: engine)
    let lookups = tokens([4, 0, 4, 8, 1, 4, 8, 2, 3, 5, 6, 7])
    let output = arena.matrix(rowCount: lookups.count, columnCount: 3)
    let target = arena.matrix(rowCount: lookups.count, columnCount: 3)
    target.randomize("target", engine: engine)
    let rowGradient = EmbeddingRowGradient(vocabularySize: 9, width: 3, capacity: lookups.count)
    let collected = rowGradient.collect(lookups, gradient: target)
    for index in 0..<collected.tokens.count {
      gradients[layer.weight].rows(Int(collected.tokens[index])..<Int(collected.tokens[index]) + 1)
        .copy(from: collected.rows.rows(index..<index + 1))
    }
    expectGradientsMatch(weights.checked(against: gradients)) {
      layer.forward(lookups, weights: Weights(weights, engine: engine), into: output)
      return output.dot(target)
    }
  }

  @Test func collectedTokensAreDistinctAndAscendingEveryTime() {
    let rowGradient = EmbeddingRowGradient(vocabularySize: 100, width: 1, capacity: 6)
    let gradient = arena.matrix(rowCount: 6, columnCount: 1)
    for row in 0..<6 { gradient[row, 0] = Float(1 << row) }
    for _ in 0..<2 {
      let collected = rowGradient.collect(tokens([70, 3, 70, 99, 3, 70]), gradient: gradient)
      #expect(collected.tokens.elements == [3, 70, 99])
      #expect(collected.rows.elements == [2 + 16, 1 + 4 + 32, 8])
    }
  }

  private func tokens(_ ids: [Int32]) -> Vector<Int32> {
    let vector = arena.vector(of: Int32.self, count: ids.count)
    for (index, id) in ids.enumerated() { vector[index] = id }
    return vector
  }
}
