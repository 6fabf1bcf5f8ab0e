import Tensors

/// The forms that scale `x·V`: `output += (x·V) ⊙ (1 + c·D)` with a factor
/// for each output, or one factor for all.
struct ModulatedInteraction: InteractionForm {
  /// K × output for the diagonal form, K for the scalar one.
  let d: Parameter
  let shape: InteractionShape

  /// Declares `name.D` of the diagonal form.
  static func diagonal(
    name: String, shape: InteractionShape, in list: inout ParameterList
  ) -> ModulatedInteraction {
    ModulatedInteraction(
      d: add("\(name).D", dimensions: [shape.contextWidth, shape.outputWidth], shape: shape, to: &list),
      shape: shape)
  }

  /// Declares `name.s` of the scalar form.
  static func scalar(
    name: String, shape: InteractionShape, in list: inout ParameterList
  ) -> ModulatedInteraction {
    ModulatedInteraction(
      d: add("\(name).s", dimensions: [shape.contextWidth], shape: shape, to: &list), shape: shape)
  }

  private static func add(
    _ name: String, dimensions: [Int], shape: InteractionShape, to list: inout ParameterList
  ) -> Parameter {
    list.add(
      name, shape: dimensions,
      initialization: .uniform(limit: (3 / Float(shape.contextWidth * shape.inputWidth)).squareRoot()),
      learningRateScale: InteractionShape.learningRateScale(fanIn: shape.contextWidth * shape.inputWidth))
  }

  private var isScalar: Bool { d.shape.count == 1 }

  /// K × factors on the right of a product; a vector counts as one row.
  private func right(_ weights: Weights) -> PackedMatrix {
    isScalar ? weights.right(transposed: d) : weights.right(d)
  }

  /// Factors × K on the right of a product.
  private func rightTransposed(_ weights: Weights) -> PackedMatrix {
    isScalar ? weights.right(d) : weights.right(transposed: d)
  }

  /// The tensor as K × factors; the scalar form's is a vector.
  private func factors(_ buffer: ParameterBuffer) -> Matrix {
    buffer[d].reshaped(rowCount: shape.contextWidth, columnCount: d.count / shape.contextWidth)
  }

  func projectProducts(v: Parameter) -> [LayerProduct] { [LayerProduct(v)] }

  var contractProducts: [LayerProduct] { [isScalar ? LayerProduct(transposed: d) : LayerProduct(d)] }

  func activations(rowCount: Int, in arena: Arena) -> InteractionActivations {
    InteractionActivations(
      rowCount: rowCount, projected: shape.outputWidth, modulation: d.count / shape.contextWidth,
      modulated: 0,
      scratch: shape.outputWidth, in: arena)
  }

  func project(
    _ input: Matrix, v: Parameter, weights: Weights, activations: InteractionActivations,
    engine: ComputeEngine
  ) {
    engine.multiply(input, weights.right(v), into: activations.projected)
  }

  func contract(
    context: Matrix, weights: Weights, activations: InteractionActivations, addingTo output: Matrix,
    engine: ComputeEngine
  ) {
    activations.modulation.fill(1)
    engine.multiply(context, right(weights), into: activations.modulation, adding: true)
    modulate(activations.projected, by: activations.modulation, into: activations.scratch, engine: engine)
    engine.add(activations.scratch, to: output)
  }

  func contractBackward(
    outputGradient: Matrix, weights: Weights, activations: InteractionActivations,
    addingTo contextGradient: Matrix, engine: ComputeEngine
  ) {
    let gradient = activations.modulationGradient
    if isScalar {
      engine.rowDots(activations.projected, outputGradient, into: gradient)
    } else {
      engine.multiplyElements(activations.projected, outputGradient, into: gradient)
    }
    engine.multiply(gradient, rightTransposed(weights), into: contextGradient, adding: true)
  }

  func projectBackward(
    input: Matrix, context: Matrix, outputGradient: Matrix, v: Parameter, weights: Weights,
    gradients: ParameterBuffer, activations: InteractionActivations, into inputGradient: Matrix,
    engine: ComputeEngine
  ) {
    let projectedGradient = activations.scratch
    modulate(outputGradient, by: activations.modulation, into: projectedGradient, engine: engine)
    engine.multiply(projectedGradient, weights.right(transposed: v), into: inputGradient)
    engine.multiply(transposed: input, projectedGradient, addingTo: gradients[v])
    engine.multiply(transposed: context, activations.modulationGradient, addingTo: factors(gradients))
  }

  private func modulate(_ values: Matrix, by factors: Matrix, into output: Matrix, engine: ComputeEngine) {
    if isScalar {
      engine.scaleRows(of: values, by: factors, column: 0, into: output)
    } else {
      engine.multiplyElements(values, factors, into: output)
    }
  }
}
