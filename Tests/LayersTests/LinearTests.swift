import Layers
import Tensors
import Testing

@Suite struct LinearTests {
  let arena = Arena()

  @Test(arguments: [(rows: 1, inputs: 2, outputs: 3), (4, 17, 5), (70, 33, 70)], TestedEngine.allCases)
  func linearGradientsMatchCentralDifferences(
    shape: (rows: Int, inputs: Int, outputs: Int), kind: TestedEngine
  ) throws {
    let engine = try kind.make()
    let (rows, inputs, outputs) = shape
    var list = ParameterList()
    let layer = Linear(name: "p", inputWidth: inputs, outputWidth: outputs, in: &list)
    let weights = Weights(ParameterBuffer(list), engine: engine)
    let gradients = ParameterBuffer(list)
    weights.values.randomize(engine: engine)
    let (x, y, target, xGradient) = matrices(rows: rows, inputs: inputs, outputs: outputs, engine)
    func loss() -> Double {
      weights.refresh()
      layer.forward(x, weights: weights, into: y, engine: engine)
      return y.dot(target)
    }
    layer.backward(
      input: x, outputGradient: target, weights: weights, gradients: gradients, into: xGradient,
      engine: engine)
    expectGradientsMatch(
      weights.checked(against: gradients) + [CheckedTensor(name: "x", values: x, gradient: xGradient)],
      loss: loss)
  }

  @Test(arguments: [(rows: 2, inputs: 3, outputs: 4), (5, 18, 6)], TestedEngine.allCases)
  func rectifiedLinearGradientsMatchCentralDifferences(
    shape: (rows: Int, inputs: Int, outputs: Int), kind: TestedEngine
  ) throws {
    let engine = try kind.make()
    let (rows, inputs, outputs) = shape
    var list = ParameterList()
    let layer = RectifiedLinear(
      name: "c", inputWidth: inputs, outputWidth: outputs, learningRateScale: 1, in: &list)
    let weights = Weights(ParameterBuffer(list), engine: engine)
    let gradients = ParameterBuffer(list)
    weights.values.randomize(engine: engine)
    let (x, y, target, xGradient) = matrices(rows: rows, inputs: inputs, outputs: outputs, engine)
    try keepAwayFromTheKink(layer, weights: weights, x: x, engine)
    func loss() -> Double {
      weights.refresh()
      layer.forward(x, weights: weights, into: y, engine: engine)
      return y.dot(target)
    }
    _ = loss()
    #expect(y.elements.contains(0) && y.elements.contains { $0 > 0 })
    let rectified = arena.matrix(rowCount: rows, columnCount: outputs)
    rectified.copy(from: target)
    layer.backward(
      output: y, outputGradient: rectified, weights: weights, addingTo: xGradient, engine: engine)
    layer.addWeightGradients(
      input: x, rectifiedGradient: rectified, gradients: gradients, engine: engine)
    expectGradientsMatch(
      weights.checked(against: gradients) + [CheckedTensor(name: "x", values: x, gradient: xGradient)],
      epsilon: 2e-3, loss: loss)
  }

  /// Central differences across ReLU's kink are meaningless: the random numbers must be away from it.
  private func keepAwayFromTheKink(
    _ layer: RectifiedLinear, weights: Weights, x: Matrix, _ engine: ComputeEngine
  ) throws {
    let y = arena.matrix(rowCount: x.rowCount, columnCount: layer.weight.rowCount)
    engine.multiply(x, weights.right(transposed: layer.weight), into: y)
    engine.add(row: weights[layer.bias], toRowsOf: y)
    try #require(y.elements.allSatisfy { abs($0) > 0.005 })
  }

  private func matrices(
    rows: Int, inputs: Int, outputs: Int, _ engine: ComputeEngine
  ) -> (Matrix, Matrix, Matrix, Matrix) {
    let x = arena.matrix(rowCount: rows, columnCount: inputs)
    let target = arena.matrix(rowCount: rows, columnCount: outputs)
    x.randomize("x", engine: engine)
    target.randomize("target", engine: engine)
    return (
      x, arena.matrix(rowCount: rows, columnCount: outputs), target,
      arena.matrix(rowCount: rows, columnCount: inputs)
    )
  }
}
