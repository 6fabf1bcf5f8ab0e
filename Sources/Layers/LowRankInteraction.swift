import Tensors

/// `W[k,m,n] = Σᵣ A[k,r] B[m,r] C[n,r]`: `output += x·V + ((c·A) ⊙ (x·B))·Cᵀ`.
struct LowRankInteraction: InteractionForm {
  /// K × R.
  let a: Parameter
  /// input × R.
  let b: Parameter
  /// output × R.
  let c: Parameter
  let shape: InteractionShape

  init(name: String, shape: InteractionShape, in list: inout ParameterList) {
    self.shape = shape
    // The fan-in of one factor alone understates the effect of a change: all three use the rate of the tensor that they
    // parametrize.
    let scale = InteractionShape.learningRateScale(fanIn: shape.contextWidth * shape.inputWidth)
    func factor(_ letter: String, rows: Int, fanIn: Int) -> Parameter {
      list.add(
        "\(name).\(letter)", shape: [rows, shape.rank],
        initialization: .uniform(limit: (3 / Float(fanIn)).squareRoot()), learningRateScale: scale)
    }
    a = factor("A", rows: shape.contextWidth, fanIn: shape.contextWidth)
    b = factor("B", rows: shape.inputWidth, fanIn: shape.inputWidth)
    c = factor("C", rows: shape.outputWidth, fanIn: shape.rank)
  }

  func projectProducts(v: Parameter) -> [LayerProduct] { [LayerProduct(v), LayerProduct(b)] }

  var contractProducts: [LayerProduct] { [LayerProduct(a), LayerProduct(transposed: c)] }

  func activations(rowCount: Int, in arena: Arena) -> InteractionActivations {
    InteractionActivations(
      rowCount: rowCount, projected: shape.outputWidth + shape.rank, modulation: shape.rank,
      modulated: shape.rank, scratch: shape.rank, in: arena)
  }

  private func factors(_ activations: InteractionActivations) -> Matrix {
    activations.projected.columns(shape.outputWidth..<activations.projected.columnCount)
  }

  func project(
    _ input: Matrix, v: Parameter, weights: Weights, activations: InteractionActivations,
    engine: ComputeEngine
  ) {
    engine.multiply(input, weights.right(v), into: activations.projected.columns(0..<shape.outputWidth))
    engine.multiply(input, weights.right(b), into: factors(activations))
  }

  func contract(
    context: Matrix, weights: Weights, activations: InteractionActivations, addingTo output: Matrix,
    engine: ComputeEngine
  ) {
    engine.add(activations.projected.columns(0..<shape.outputWidth), to: output)
    engine.multiply(context, weights.right(a), into: activations.modulation)
    engine.multiplyElements(activations.modulation, factors(activations), into: activations.modulated)
    engine.multiply(activations.modulated, weights.right(transposed: c), into: output, adding: true)
  }

  func contractBackward(
    outputGradient: Matrix, weights: Weights, activations: InteractionActivations,
    addingTo contextGradient: Matrix, engine: ComputeEngine
  ) {
    engine.multiply(outputGradient, weights.right(c), into: activations.modulatedGradient)
    engine.multiplyElements(
      activations.modulatedGradient, factors(activations), into: activations.modulationGradient)
    engine.multiply(
      activations.modulationGradient, weights.right(transposed: a), into: contextGradient, adding: true)
  }

  func projectBackward(
    input: Matrix, context: Matrix, outputGradient: Matrix, v: Parameter, weights: Weights,
    gradients: ParameterBuffer, activations: InteractionActivations, into inputGradient: Matrix,
    engine: ComputeEngine
  ) {
    engine.multiply(outputGradient, weights.right(transposed: v), into: inputGradient)
    let factorGradient = activations.scratch
    engine.multiplyElements(activations.modulatedGradient, activations.modulation, into: factorGradient)
    engine.multiply(factorGradient, weights.right(transposed: b), into: inputGradient, adding: true)
    engine.multiply(
      transposed: input, [outputGradient, factorGradient], addingTo: [gradients[v], gradients[b]])
    engine.multiply(transposed: outputGradient, activations.modulated, addingTo: gradients[c])
    engine.multiply(transposed: context, activations.modulationGradient, addingTo: gradients[a])
  }
}
