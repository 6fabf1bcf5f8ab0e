import Layers
import Tensors
import Testing

@Suite struct PerceptronTests {
  let arena = Arena()

  /// Rectified units apart, whose kinks central differences do not like; their gradient is `RectifiedLinear`'s.
  @Test(
    arguments: [[Activation.sigmoid, .identity], [.identity, .sigmoid, .sigmoid]], TestedEngine.allCases)
  func gradientsMatchCentralDifferences(activations kinds: [Activation], kind: TestedEngine) throws {
    let engine = try kind.make()
    var list = ParameterList()
    let network = Perceptron(
      name: "p", inputWidth: 3, layers: kinds.enumerated().map { (5 - $0.offset, $0.element) }, in: &list)
    let weights = Weights(ParameterBuffer(list), engine: engine)
    let gradients = ParameterBuffer(list)
    weights.values.randomize(engine: engine)
    let activations = network.activations(rowCount: 7, in: arena)
    let x = arena.matrix(rowCount: 7, columnCount: 3)
    let xGradient = arena.matrix(rowCount: 7, columnCount: 3)
    let target = arena.matrix(rowCount: 7, columnCount: activations.output.columnCount)
    x.randomize("x", engine: engine)
    target.randomize("target", engine: engine)
    func loss() -> Double {
      weights.refresh()
      network.forward(x, weights: weights, activations: activations, engine: engine)
      return activations.output.dot(target)
    }
    _ = loss()
    activations.outputGradient.copy(from: target)
    network.backward(
      input: x, weights: weights, gradients: gradients, activations: activations, into: xGradient,
      engine: engine)
    expectGradientsMatch(
      weights.checked(against: gradients) + [CheckedTensor(name: "x", values: x, gradient: xGradient)],
      loss: loss)
  }

  @Test func rectifiedUnitsFollowTheDefinition() throws {
    let engine = try TestedEngine.reference.make()
    var list = ParameterList()
    let network = Perceptron(name: "p", inputWidth: 1, layers: [(2, .relu), (1, .identity)], in: &list)
    let weights = Weights(ParameterBuffer(list), engine: engine)
    // |x| + 0.5 of two rectified units.
    for (parameter, values) in zip(list.parameters, [[1, -1], [0, 0], [1, 1], [0.5]] as [[Float]]) {
      for (index, value) in values.enumerated() {
        weights.values[parameter].reshaped(rowCount: 1, columnCount: parameter.count)[0, index] = value
      }
    }
    let activations = network.activations(rowCount: 3, in: arena)
    let x = arena.matrix(rowCount: 3, columnCount: 1)
    for (row, value) in [-2, 0, 3].enumerated() { x[row, 0] = Float(value) }
    network.forward(x, weights: weights, activations: activations, engine: engine)
    #expect(activations.output.elements == [2.5, 0.5, 3.5])
    let gradients = ParameterBuffer(list)
    let xGradient = arena.matrix(rowCount: 3, columnCount: 1)
    activations.outputGradient.fill(1)
    network.backward(
      input: x, weights: weights, gradients: gradients, activations: activations, into: xGradient,
      engine: engine)
    #expect(xGradient.elements == [-1, 0, 1])
  }
}
