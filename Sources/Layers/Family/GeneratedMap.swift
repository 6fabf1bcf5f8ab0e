import Tensors

/// The affine map that a multiplicative interaction generates from one context, as a hyper-network does:
/// `M(c, x) = x · weight + bias` with `weight = W'(c) = Σₖ cₖ Wₖ + V` and `bias = b'(c) = c·U + b`.
package struct GeneratedMap: Sendable {
  /// W', input × output.
  package let weight: Matrix
  /// b', one row.
  package let bias: Matrix
  private let interaction: MultiplicativeInteraction
  private let units: Matrix
  private let contexts: Matrix
  private let activations: InteractionActivations

  /// Memory for the map of one context at a time.
  package init(_ interaction: MultiplicativeInteraction, in arena: Arena) {
    self.interaction = interaction
    let shape = interaction.shape
    weight = arena.matrix(rowCount: shape.inputWidth, columnCount: shape.outputWidth)
    bias = arena.matrix(rowCount: 1, columnCount: shape.outputWidth)
    units = arena.matrix(rowCount: shape.inputWidth, columnCount: shape.inputWidth)
    contexts = arena.matrix(rowCount: shape.inputWidth, columnCount: shape.contextWidth)
    activations = interaction.activations(rowCount: shape.inputWidth, in: arena)
    for index in 0..<shape.inputWidth { units[index, index] = 1 }
  }

  /// Sets `weight` and `bias` from a context, one row.
  ///
  /// Row m of W' is the interaction of c with the m-th unit vector, minus b'.
  package func generate(from context: Matrix, weights: Weights, engine: ComputeEngine) {
    for index in 0..<contexts.rowCount { contexts.rows(index..<index + 1).copy(from: context) }
    engine.multiply(context, weights.right(interaction.u), into: bias)
    engine.add(row: weights[interaction.b], toRowsOf: bias)
    interaction.forward(
      context: contexts, input: units, weights: weights, activations: activations, into: weight,
      engine: engine)
    for row in 0..<weight.rowCount {
      for column in 0..<weight.columnCount { weight[row, column] -= bias[0, column] }
    }
  }
}
