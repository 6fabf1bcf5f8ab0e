import Tensors

/// A linear map with its weight stored output-first, as PyTorch does, followed by ReLU:
/// the context of a multiplicative interaction, `c = ReLU(weight · h + bias)`.
package struct RectifiedLinear: Sendable {
  /// outputs × inputs.
  package let weight: Parameter
  /// outputs.
  package let bias: Parameter

  /// Declares `name.weight` and `name.bias`.
  ///
  /// The weight starts uniform with variance 1 / inputs; `learningRateScale` is for both tensors.
  package init(
    name: String, inputWidth: Int, outputWidth: Int, learningRateScale: Float, in list: inout ParameterList
  ) {
    weight = list.add(
      "\(name).weight", shape: [outputWidth, inputWidth],
      initialization: .uniform(limit: (3 / Float(inputWidth)).squareRoot()),
      learningRateScale: learningRateScale)
    bias = list.add(
      "\(name).bias", shape: [outputWidth], initialization: .zero, learningRateScale: learningRateScale,
      decays: false)
  }

  /// The matrix product of its forward pass.
  package var products: [LayerProduct] { [LayerProduct(transposed: weight)] }

  /// `output = ReLU(input · weightᵀ + bias)`; input is rows × inputs, output rows × outputs.
  package func forward(_ input: Matrix, weights: Weights, into output: Matrix, engine: ComputeEngine) {
    engine.multiply(input, weights.right(transposed: weight), into: output)
    engine.addBiasAndRectify(output, bias: weights[bias])
  }

  /// Replaces `outputGradient` by the gradient before ReLU, in place,
  /// and adds `outputGradient · weight` to the input's.
  ///
  /// `addWeightGradients` adds the weights' gradients, one product over all rows.
  package func backward(
    output: Matrix, outputGradient: Matrix, weights: Weights, addingTo inputGradient: Matrix,
    engine: ComputeEngine
  ) {
    engine.rectifyGradient(outputGradient, activated: output)
    engine.multiply(outputGradient, weights.right(weight), into: inputGradient, adding: true)
  }

  /// Adds `rectifiedGradientᵀ · input` and the column sums to the gradients;
  /// `rectifiedGradient` is what `backward` has computed in place.
  package func addWeightGradients(
    input: Matrix, rectifiedGradient: Matrix, gradients: ParameterBuffer, engine: ComputeEngine
  ) {
    engine.multiply(transposed: rectifiedGradient, input, addingTo: gradients[weight])
    engine.addColumnSums(of: rectifiedGradient, to: gradients[bias])
  }
}

/// A linear map with its weight stored input-first: the LSTM baseline's projection, `z = h · V + b`.
package struct Linear: Sendable {
  /// inputs × outputs.
  package let weight: Parameter
  /// outputs.
  package let bias: Parameter

  /// Declares `name.V` and `name.b`; the weight starts uniform with variance 1 / inputs.
  package init(name: String, inputWidth: Int, outputWidth: Int, in list: inout ParameterList) {
    weight = list.add(
      "\(name).V", shape: [inputWidth, outputWidth],
      initialization: .uniform(limit: (3 / Float(inputWidth)).squareRoot()))
    bias = list.add("\(name).b", shape: [outputWidth], initialization: .zero, decays: false)
  }

  /// The matrix product of its forward pass.
  package var products: [LayerProduct] { [LayerProduct(weight)] }

  /// `output = input · V + b`.
  package func forward(_ input: Matrix, weights: Weights, into output: Matrix, engine: ComputeEngine) {
    engine.multiply(input, weights.right(weight), into: output)
    engine.add(row: weights[bias], toRowsOf: output)
  }

  /// Sets the input's gradient to `outputGradient · Vᵀ`; adds `inputᵀ · outputGradient`
  /// and the column sums to the weights'.
  package func backward(
    input: Matrix, outputGradient: Matrix, weights: Weights, gradients: ParameterBuffer,
    into inputGradient: Matrix, engine: ComputeEngine
  ) {
    engine.multiply(outputGradient, weights.right(transposed: weight), into: inputGradient)
    engine.multiply(transposed: input, outputGradient, addingTo: gradients[weight])
    engine.addColumnSums(of: outputGradient, to: gradients[bias])
  }
}
