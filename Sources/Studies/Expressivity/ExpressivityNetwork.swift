import Layers
import Tensors

/// A network whose inputs are rows [x, z], with memory for a batch.
struct ExpressivityNetwork {
  let learner: Learner
  let output: Matrix
  private let arena: Arena
  /// Computes `output` from rows [x, z].
  let forward: (Matrix) -> Void
  /// Accumulates the gradients of the weights from the input rows and the gradient of the output.
  let backward: (Matrix, Matrix) -> Void

  /// One hidden layer.
  static func perceptron(
    width: Int, activation: Activation, dimension: Int, outputWidth: Int, batch: Int, seed: UInt64,
    engine: ComputeEngine
  ) -> ExpressivityNetwork {
    var list = ParameterList()
    let network = Perceptron(
      name: "network", inputWidth: 2 * dimension, layers: [(width, activation), (outputWidth, .identity)],
      in: &list)
    let arena = Arena()
    let learner = Learner(list, seed: seed, engine: engine)
    let activations = network.activations(rowCount: batch, in: arena)
    return ExpressivityNetwork(learner: learner, output: activations.output, arena: arena) { inputs in
      network.forward(inputs, weights: learner.weights, activations: activations, engine: engine)
    } backward: { inputs, gradient in
      activations.outputGradient.copy(from: gradient)
      network.backward(
        input: inputs, weights: learner.weights, gradients: learner.gradients, activations: activations,
        engine: engine)
    }
  }

  /// One multiplicative interaction of z with x.
  static func interaction(
    _ kind: InteractionKind, dimension: Int, outputWidth: Int, batch: Int, seed: UInt64,
    engine: ComputeEngine
  ) -> ExpressivityNetwork {
    var list = ParameterList()
    let layer = MultiplicativeInteraction(
      name: "interaction", kind: kind,
      shape: InteractionShape(
        contextWidth: dimension, inputWidth: dimension, outputWidth: outputWidth, rank: 1), in: &list)
    let arena = Arena()
    let learner = Learner(list, seed: seed, engine: engine)
    let activations = layer.activations(rowCount: batch, in: arena)
    let output = arena.matrix(rowCount: batch, columnCount: outputWidth)
    let inputGradient = arena.matrix(rowCount: batch, columnCount: dimension)
    let contextGradient = arena.matrix(rowCount: batch, columnCount: dimension)
    return ExpressivityNetwork(learner: learner, output: output, arena: arena) { inputs in
      layer.forward(
        context: inputs.columns(dimension..<2 * dimension), input: inputs.columns(0..<dimension),
        weights: learner.weights, activations: activations, into: output, engine: engine)
    } backward: { inputs, gradient in
      layer.backward(
        context: inputs.columns(dimension..<2 * dimension), input: inputs.columns(0..<dimension),
        outputGradient: gradient, weights: learner.weights, gradients: learner.gradients,
        activations: activations, intoContext: contextGradient, intoInput: inputGradient, engine: engine)
    }
  }

  /// The mean squared error on the test examples.
  func error(on examples: TargetExamples) -> Double {
    let batch = output.rowCount
    let count = examples.testInputs.rowCount / batch
    return (0..<count).reduce(0) { sum, index in
      let rows = index * batch..<(index + 1) * batch
      forward(examples.testInputs.rows(rows))
      return sum + meanSquaredError(output, examples.testOutputs.rows(rows))
    } / Double(count)
  }

  /// Sets the weights of the exact solution in a full interaction.
  func writeSolution(of examples: TargetExamples) {
    let values = learner.weights.values
    values.flat.fill(0)
    for parameter in values.list.parameters {
      let matrix = values[parameter]
      switch (examples.target, parameter.name) {
      case (.sum, "interaction.U"), (.sum, "interaction.V"): matrix.fill(1)
      case (.product, "interaction.W"):
        for index in 0..<examples.dimension { matrix[index * examples.dimension + index, index] = 1 }
      case (.dot, "interaction.W"):
        for index in 0..<examples.dimension { matrix[index * examples.dimension + index, 0] = 1 }
      case (.bilinear, "interaction.W"):
        for k in 0..<examples.dimension {
          for m in 0..<examples.dimension { matrix[k * examples.dimension + m, 0] = examples.form[m, k] }
        }
      default: break
      }
    }
    learner.weights.refresh()
  }

  /// Sets weights smaller than `limit` to zero and returns the number of the others.
  func dropWeights(below limit: Double) -> Int {
    var kept = 0
    for parameter in learner.weights.values.list.parameters {
      let matrix = learner.weights.values[parameter]
      for row in 0..<matrix.rowCount {
        for column in 0..<matrix.columnCount {
          if abs(Double(matrix[row, column])) < limit { matrix[row, column] = 0 } else { kept += 1 }
        }
      }
    }
    learner.weights.refresh()
    return kept
  }
}
