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

  func activations(rowCount: Int, in arena: Arena) -> InteractionActivations {
    // x·V first, then x·Wₖ for every k.
    InteractionActivations(
      rowCount: rowCount, projected: (shape.contextWidth + 1) * shape.outputWidth, modulation: 0,
      modulated: 0,
      scratch: shape.outputWidth, in: arena)
  }

  private func slice(_ k: Int, of matrix: Matrix) -> Matrix {
    matrix.rows(k * shape.inputWidth..<(k + 1) * shape.inputWidth)
  }

  private func projections(_ activations: InteractionActivations) -> Matrix {
    activations.projected.columns(shape.outputWidth..<activations.projected.columnCount)
  }

  func project(
    _ input: Matrix, v: Matrix, weights: ParameterBuffer, activations: InteractionActivations,
    engine: ComputeEngine
  ) {
    let width = shape.outputWidth
    engine.multiply(input, v, into: activations.projected.columns(0..<width))
    for k in 0..<shape.contextWidth {
      let columns = (k + 1) * width..<(k + 2) * width
      engine.multiply(input, slice(k, of: weights[w]), into: activations.projected.columns(columns))
    }
  }

  func contract(
    context: Matrix, weights: ParameterBuffer, activations: InteractionActivations, addingTo output: Matrix,
    engine: ComputeEngine
  ) {
    engine.add(activations.projected.columns(0..<shape.outputWidth), to: output)
    engine.contract(context: context, projected: projections(activations), addingTo: output)
  }

  func contractBackward(
    outputGradient: Matrix, weights: ParameterBuffer, activations: InteractionActivations,
    addingTo contextGradient: Matrix, engine: ComputeEngine
  ) {
    engine.contractBackward(
      projected: projections(activations), outputGradient: outputGradient, addingTo: contextGradient)
  }

  func projectBackward(
    input: Matrix, context: Matrix, outputGradient: Matrix, v: Parameter, weights: ParameterBuffer,
    gradients: ParameterBuffer, activations: InteractionActivations, into inputGradient: Matrix,
    engine: ComputeEngine
  ) {
    engine.multiply(outputGradient, transposed: weights[v], into: inputGradient)
    engine.multiply(transposed: input, outputGradient, into: gradients[v], adding: true)
    for k in 0..<shape.contextWidth {
      let scaled = activations.scratch
      engine.scaleRows(of: outputGradient, by: context, column: k, into: scaled)
      engine.multiply(scaled, transposed: slice(k, of: weights[w]), into: inputGradient, adding: true)
      engine.multiply(transposed: input, scaled, into: slice(k, of: gradients[w]), adding: true)
    }
  }
}
