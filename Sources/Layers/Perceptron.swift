import Tensors

/// A chain of linear layers, each followed by an activation: `yᵢ = f(yᵢ₋₁ · weightᵢ + biasᵢ)`.
package struct Perceptron: Sendable {
  /// One layer of the chain.
  package struct Layer: Sendable {
    /// inputs × outputs.
    package let weight: Parameter
    /// outputs.
    package let bias: Parameter
    /// The activation after the linear map.
    package let activation: Activation
  }

  /// The layers, from input to output.
  package let layers: [Layer]

  /// Declares `name.0.weight`, `name.0.bias` and so on, for layers of these widths.
  ///
  /// A weight starts uniform with variance 1 / inputs, twice that before ReLU, which halves it; a bias uniform within
  /// ± 1 / √inputs, so that the kinks of rectified units over a single input do not all lie at zero.
  package init(
    name: String, inputWidth: Int, layers: [(width: Int, activation: Activation)],
    in list: inout ParameterList
  ) {
    var inputWidth = inputWidth
    self.layers = layers.enumerated().map { index, layer in
      let fanIn = Float(inputWidth)
      let variance = (layer.activation == .relu ? 2 : 1) / fanIn
      defer { inputWidth = layer.width }
      return Layer(
        weight: list.add(
          "\(name).\(index).weight", shape: [inputWidth, layer.width],
          initialization: .uniform(limit: (3 * variance).squareRoot())),
        bias: list.add(
          "\(name).\(index).bias", shape: [layer.width],
          initialization: .uniform(limit: 1 / fanIn.squareRoot()), decays: false),
        activation: layer.activation)
    }
  }

  /// Memory for `rowCount` rows.
  package func activations(rowCount: Int, in arena: Arena) -> PerceptronActivations {
    func matrices() -> [Matrix] {
      layers.map { arena.matrix(rowCount: rowCount, columnCount: $0.weight.columnCount) }
    }
    return PerceptronActivations(values: matrices(), gradients: matrices())
  }

  /// Computes `activations.output` from the input, rows × inputs.
  package func forward(
    _ input: Matrix, weights: Weights, activations: PerceptronActivations, engine: ComputeEngine
  ) {
    var input = input
    for (layer, values) in zip(layers, activations.values) {
      engine.multiply(input, weights.right(layer.weight), into: values)
      layer.activation.apply(to: values, bias: weights[layer.bias], engine: engine)
      input = values
    }
  }

  /// Adds the weights' gradients and sets the input's where requested, from `activations.outputGradient`, which is
  /// overwritten.
  package func backward(
    input: Matrix, weights: Weights, gradients: ParameterBuffer, activations: PerceptronActivations,
    into inputGradient: Matrix? = nil, engine: ComputeEngine
  ) {
    for index in layers.indices.reversed() {
      let layer = layers[index]
      let gradient = activations.gradients[index]
      layer.activation.differentiate(gradient, activated: activations.values[index], engine: engine)
      engine.multiply(
        transposed: index == 0 ? input : activations.values[index - 1], gradient,
        addingTo: gradients[layer.weight])
      engine.addColumnSums(of: gradient, to: gradients[layer.bias])
      if let below = index == 0 ? inputGradient : activations.gradients[index - 1] {
        engine.multiply(gradient, weights.right(transposed: layer.weight), into: below)
      }
    }
  }
}

/// The outputs of a chain's layers, and their gradients.
package struct PerceptronActivations: Sendable {
  let values: [Matrix]
  let gradients: [Matrix]

  /// The output of the last layer.
  package var output: Matrix { values[values.count - 1] }
  /// Its gradient, which the caller of `backward` sets.
  package var outputGradient: Matrix { gradients[gradients.count - 1] }

  /// The view of some rows.
  package func rows(_ range: Range<Int>) -> PerceptronActivations {
    PerceptronActivations(values: values.map { $0.rows(range) }, gradients: gradients.map { $0.rows(range) })
  }
}
