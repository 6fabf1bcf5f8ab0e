import Tensors

/// The layer outside a recurrence, where input and context are both there at once.
extension MultiplicativeInteraction {
  /// `output = M(context, input)`.
  public func forward(
    context: Matrix, input: Matrix, weights: Weights, activations: InteractionActivations,
    into output: Matrix, engine: ComputeEngine
  ) {
    project(input, weights: weights, activations: activations, engine: engine)
    contract(context: context, weights: weights, activations: activations, into: output, engine: engine)
  }

  /// Sets the gradients of context and input and adds those of the weights.
  public func backward(
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
