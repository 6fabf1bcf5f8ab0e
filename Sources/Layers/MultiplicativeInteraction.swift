import Tensors

/// The multiplicative interaction of a context c with an input x (Jayakumar et al., ICLR 2020).
///
/// `M(c, x)ₙ = Σₖ Σₘ cₖ W[k,m,n] xₘ + Σₖ cₖ U[k,n] + Σₘ xₘ V[m,n] + bₙ`.
/// Seen as a hyper-network the map of x is `W'(c) = Σₖ cₖ Wₖ + V`, which `InteractionKind` parametrizes in four ways.
package struct MultiplicativeInteraction: Sendable {
  /// K, input and output widths.
  package let shape: InteractionShape
  /// input × output.
  package let v: Parameter
  /// K × output.
  package let u: Parameter
  /// output.
  package let b: Parameter
  private let form: any InteractionForm

  /// Declares `name.V`, `name.U`, `name.b` and the tensors of the form.
  ///
  /// V starts with variance 1 / inputs. U and b start at zero and W small,
  /// so that a new layer is close to a linear one.
  package init(name: String, kind: InteractionKind, shape: InteractionShape, in list: inout ParameterList) {
    self.shape = shape
    v = list.add(
      "\(name).V", shape: [shape.inputWidth, shape.outputWidth],
      initialization: .uniform(limit: (3 / Float(shape.inputWidth)).squareRoot()),
      learningRateScale: InteractionShape.learningRateScale(fanIn: shape.inputWidth))
    u = list.add("\(name).U", shape: [shape.contextWidth, shape.outputWidth], initialization: .zero)
    b = list.add("\(name).b", shape: [shape.outputWidth], initialization: .zero, decays: false)
    switch kind {
    case .full: form = FullInteraction(name: name, shape: shape, in: &list)
    case .lowrank: form = LowRankInteraction(name: name, shape: shape, in: &list)
    case .diagonal: form = ModulatedInteraction.diagonal(name: name, shape: shape, in: &list)
    case .scalar: form = ModulatedInteraction.scalar(name: name, shape: shape, in: &list)
    }
  }

  /// The matrix products of `project`.
  package var projectProducts: [LayerProduct] { form.projectProducts(v: v) }

  /// The matrix products of `contract`.
  package var contractProducts: [LayerProduct] { [LayerProduct(u)] + form.contractProducts }

  /// Memory for `rowCount` rows.
  package func activations(rowCount: Int, in arena: Arena) -> InteractionActivations {
    form.activations(rowCount: rowCount, in: arena)
  }

  /// Computes the part that depends on the input alone: one product for all rows of a segment.
  package func project(
    _ input: Matrix, weights: Weights, activations: InteractionActivations, engine: ComputeEngine
  ) {
    form.project(input, v: v, weights: weights, activations: activations, engine: engine)
  }

  /// Sets the output, rows × outputs, from the context, rows × K, and the result of `project` for these rows.
  package func contract(
    context: Matrix, weights: Weights, activations: InteractionActivations, into output: Matrix,
    engine: ComputeEngine
  ) {
    engine.multiply(context, weights.right(u), into: output)
    engine.add(row: weights[b], toRowsOf: output)
    form.contract(
      context: context, weights: weights, activations: activations, addingTo: output, engine: engine)
  }

  /// Sets the context's gradient: `dcₖ = dz · (Uₖ + x·Wₖ)`.
  package func contractBackward(
    outputGradient: Matrix, weights: Weights, activations: InteractionActivations,
    into contextGradient: Matrix, engine: ComputeEngine
  ) {
    engine.multiply(outputGradient, weights.right(transposed: u), into: contextGradient)
    form.contractBackward(
      outputGradient: outputGradient, weights: weights, activations: activations, addingTo: contextGradient,
      engine: engine)
  }

  /// Sets the input's gradient, `dx = dz · W'(c)ᵀ`, and adds the gradients of all weights,
  /// over all rows of a segment.
  package func projectBackward(
    input: Matrix, context: Matrix, outputGradient: Matrix, weights: Weights,
    gradients: ParameterBuffer, activations: InteractionActivations, into inputGradient: Matrix,
    engine: ComputeEngine
  ) {
    engine.multiply(transposed: context, outputGradient, addingTo: gradients[u])
    engine.addColumnSums(of: outputGradient, to: gradients[b])
    form.projectBackward(
      input: input, context: context, outputGradient: outputGradient, v: v, weights: weights,
      gradients: gradients, activations: activations, into: inputGradient, engine: engine)
  }
}

/// The layer outside a recurrence, where input and context are available at once.
extension MultiplicativeInteraction {
  /// `output = M(context, input)`.
  package func forward(
    context: Matrix, input: Matrix, weights: Weights, activations: InteractionActivations,
    into output: Matrix, engine: ComputeEngine
  ) {
    project(input, weights: weights, activations: activations, engine: engine)
    contract(context: context, weights: weights, activations: activations, into: output, engine: engine)
  }

  /// Sets the gradients of context and input and adds those of the weights.
  package func backward(
    context: Matrix, input: Matrix, outputGradient: Matrix, weights: Weights, gradients: ParameterBuffer,
    activations: InteractionActivations, intoContext contextGradient: Matrix,
    intoInput inputGradient: Matrix, engine: ComputeEngine
  ) {
    contractBackward(
      outputGradient: outputGradient, weights: weights, activations: activations, into: contextGradient,
      engine: engine)
    projectBackward(
      input: input, context: context, outputGradient: outputGradient, weights: weights,
      gradients: gradients, activations: activations, into: inputGradient, engine: engine)
  }
}
