import Layers
import Tensors
import Testing

@Suite struct LayerNormTests {
  @Test(arguments: [(rows: 1, width: 2), (4, 5), (3, 17)], TestedEngine.allCases)
  func gradientsMatchCentralDifferences(shape: (rows: Int, width: Int), kind: TestedEngine) throws {
    let engine = try kind.make()
    var list = ParameterList()
    let layer = LayerNorm(name: "norm", width: shape.width, in: &list)
    let weights = Weights(ParameterBuffer(list), engine: engine)
    let gradients = ParameterBuffer(list)
    defer { withExtendedLifetime((gradients, weights)) {} }
    weights.values.randomize(engine: engine)
    let arena = Arena()
    defer { withExtendedLifetime(arena) {} }
    func rows(_ name: String? = nil) -> Matrix {
      let matrix = arena.matrix(rowCount: shape.rows, columnCount: shape.width)
      if let name { matrix.randomize(name, engine: engine) }
      return matrix
    }
    let (x, target, output, xGradient, scratch) = (rows("x"), rows("target"), rows(), rows(), rows())
    let activations = LayerNorm.Activations(layer, rowCount: shape.rows, in: arena)

    func loss() -> Double {
      weights.refresh()
      layer.forward(x, weights: weights, activations: activations, into: output, engine: engine)
      return output.dot(target)
    }

    _ = loss()
    layer.backward(
      outputGradient: target, weights: weights, gradients: gradients, activations: activations,
      into: xGradient, scratch: scratch, engine: engine)
    // Two numbers are normalized to ±1 whatever they are, but for epsilon: x has hardly a gradient.
    let inputs = shape.width > 2 ? [CheckedTensor(name: "x", values: x, gradient: xGradient)] : []
    expectGradientsMatch(
      weights.checked(against: gradients) + inputs, epsilon: 1e-3, tolerance: 5e-3, loss: loss)
  }

  @Test func rowsHaveMeanZeroAndDeviationOne() {
    let engine = ComputeEngine()
    var list = ParameterList()
    let layer = LayerNorm(name: "norm", width: 64, in: &list)
    let weights = Weights(ParameterBuffer(list), engine: engine)
    weights.values[layer.gain].fill(1)
    let arena = Arena()
    defer { withExtendedLifetime(arena) {} }
    let (x, y) = (arena.matrix(rowCount: 3, columnCount: 64), arena.matrix(rowCount: 3, columnCount: 64))
    x.randomize("x", limit: 5, engine: engine)
    layer.forward(
      x, weights: weights, activations: LayerNorm.Activations(layer, rowCount: 3, in: arena), into: y,
      engine: engine)
    for row in 0..<3 {
      let elements = y.rows(row..<row + 1).elements.map(Double.init)
      #expect(abs(elements.reduce(0, +)) < 1e-4)
      #expect(abs(elements.reduce(0) { $0 + $1 * $1 } / 64 - 1) < 1e-4)
    }
  }
}
