import Tensors

/// `W` free: `output += x·V + Σₖ cₖ (x·Wₖ)`.
struct FullInteraction: InteractionForm {
  /// K × input × output.
  let w: Parameter
  let shape: InteractionShape

  init(name: String, shape: InteractionShape, in list: inout ParameterList) {
    self.shape = shape
    let fanIn = shape.contextWidth * shape.inputWidth
    w = list.add(
      "\(name).W", shape: [shape.contextWidth, shape.inputWidth, shape.outputWidth],
      initialization: .uniform(limit: (3 / Float(fanIn)).squareRoot()),
      learningRateScale: InteractionShape.learningRateScale(fanIn: fanIn))
  }

  func projectProducts(v: Parameter) -> [LayerProduct] {
    let columns = (shape.contextWidth + 1) * shape.outputWidth
    return [LayerProduct("\(v.name), \(w.name)", depth: shape.inputWidth, columns: columns)]
  }

  /// The sum over k is no matrix product.
  var contractProducts: [LayerProduct] { [] }

  func activations(rowCount: Int, in arena: Arena) -> InteractionActivations {
    // x·V first, then x·Wₖ for every k; in the backward pass dz, then cₖ·dz.
    InteractionActivations(
      rowCount: rowCount, projected: (shape.contextWidth + 1) * shape.outputWidth, modulation: 0,
      modulated: 0,
      scratch: 0, in: arena)
  }

  func project(
    _ input: Matrix, v: Parameter, weights: Weights, activations: InteractionActivations,
    engine: ComputeEngine
  ) {
    engine.multiply(input, weights.right(v, w), into: activations.projected)
  }

  func contract(
    context: Matrix, weights: Weights, activations: InteractionActivations, addingTo output: Matrix,
    engine: ComputeEngine
  ) {
    engine.contract(context: context, projected: activations.projected, addingTo: output)
  }

  func contractBackward(
    outputGradient: Matrix, weights: Weights, activations: InteractionActivations,
    addingTo contextGradient: Matrix, engine: ComputeEngine
  ) {
    engine.contractBackward(
      projected: activations.projected, outputGradient: outputGradient, addingTo: contextGradient)
  }

  func projectBackward(
    input: Matrix, context: Matrix, outputGradient: Matrix, v: Parameter, weights: Weights,
    gradients: ParameterBuffer, activations: InteractionActivations, into inputGradient: Matrix,
    engine: ComputeEngine
  ) {
    let scaled = activations.projected
    engine.expand(outputGradient, by: context, into: scaled)
    engine.multiply(scaled, weights.right(transposed: v, w), into: inputGradient)
    let width = shape.outputWidth
    engine.multiply(
      transposed: input,
      (0...shape.contextWidth).map { scaled.columns($0 * width..<($0 + 1) * width) },
      addingTo: [gradients[v]] + gradients.matrices(of: w))
  }
}
