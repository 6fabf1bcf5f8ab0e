import Layers
import Tensors
import Testing

@Suite struct LSTMTests {
  static let shapes = [(steps: 1, lanes: 1, input: 3, hidden: 2), (4, 3, 5, 4), (3, 2, 17, 19)]

  @Test(arguments: shapes, TestedEngine.allCases)
  func gradientsMatchCentralDifferences(
    shape: (steps: Int, lanes: Int, input: Int, hidden: Int), kind: TestedEngine
  ) throws {
    let engine = try kind.make()
    let (steps, lanes, input, hidden) = shape
    var list = ParameterList()
    let layer = LSTM(inputWidth: input, hiddenWidth: hidden, in: &list)
    let weights = Weights(ParameterBuffer(list), engine: engine)
    let gradients = ParameterBuffer(list)
    weights.values.randomize(engine: engine)
    let arena = Arena()
    let activations = LSTM.Activations(layer, stepCount: steps, laneCount: lanes, in: arena)
    let rows = steps * lanes
    let x = arena.matrix(rowCount: rows, columnCount: input)
    let initialHidden = arena.matrix(rowCount: lanes, columnCount: hidden)
    let initialCell = arena.matrix(rowCount: lanes, columnCount: hidden)
    let target = arena.matrix(rowCount: rows, columnCount: hidden)
    for (name, matrix) in [("x", x), ("h", initialHidden), ("c", initialCell), ("target", target)] {
      matrix.randomize(name, engine: engine)
    }

    func loss() -> Double {
      weights.refresh()
      activations.hidden.rows(0..<lanes).copy(from: initialHidden)
      activations.cell.rows(0..<lanes).copy(from: initialCell)
      layer.addInput(x, rows: 0..<rows, weights: weights, activations: activations, engine: engine)
      for step in 0..<steps {
        layer.forward(step: step, weights: weights, activations: activations, engine: engine)
      }
      return activations.outputs.dot(target)
    }

    _ = loss()
    let previous = arena.matrix(rowCount: lanes, columnCount: hidden)
    let outputGradient = arena.matrix(rowCount: lanes, columnCount: hidden)
    let xGradient = arena.matrix(rowCount: rows, columnCount: input)
    layer.startBackward(activations)
    for step in (0..<steps).reversed() {
      outputGradient.copy(from: target.rows(step * lanes..<(step + 1) * lanes))
      engine.add(previous, to: outputGradient)
      layer.backward(
        step: step, outputGradient: outputGradient, weights: weights, into: previous,
        activations: activations, engine: engine)
    }
    layer.inputBackward(
      rows: 0..<rows, weights: weights, into: xGradient, activations: activations, engine: engine)
    layer.addWeightGradients(input: x, gradients: gradients, activations: activations, engine: engine)
    let cellGradient = arena.matrix(rowCount: lanes, columnCount: hidden)
    cellGradient.copy(from: activations.cellGradient)

    expectGradientsMatch(
      weights.checked(against: gradients) + [
        CheckedTensor(name: "x", values: x, gradient: xGradient),
        CheckedTensor(name: "initial h", values: initialHidden, gradient: previous),
        CheckedTensor(name: "initial c", values: initialCell, gradient: cellGradient),
      ], loss: loss)
  }
}
