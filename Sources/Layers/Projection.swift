import Tensors

/// A linear map without bias, its weight stored input-first: `y = x · weight`.
package struct Projection: Sendable {
  /// inputs × outputs.
  package let weight: Parameter

  /// Declares `name`, which starts normal with this deviation.
  package init(
    name: String, inputWidth: Int, outputWidth: Int, deviation: Float = 0.02, in list: inout ParameterList
  ) {
    weight = list.add(
      name, shape: [inputWidth, outputWidth], initialization: .normal(mean: 0, deviation: deviation))
  }

  /// The matrix product of its forward pass.
  package var products: [LayerProduct] { [LayerProduct(weight)] }

  /// Sets `output`, rows × outputs, or adds to it.
  package func forward(
    _ input: Matrix, weights: Weights, into output: Matrix, adding: Bool = false, engine: ComputeEngine
  ) {
    engine.multiply(input, weights.right(weight), into: output, adding: adding)
  }

  /// Adds the weight's gradient, and sets the input's or adds to it.
  package func backward(
    input: Matrix, outputGradient: Matrix, weights: Weights, gradients: ParameterBuffer,
    into inputGradient: Matrix, adding: Bool = false, engine: ComputeEngine
  ) {
    engine.multiply(
      outputGradient, weights.right(transposed: weight), into: inputGradient, adding: adding)
    addWeightGradient(input: input, outputGradient: outputGradient, gradients: gradients, engine: engine)
  }

  /// Adds the weight's gradient.
  package func addWeightGradient(
    input: Matrix, outputGradient: Matrix, gradients: ParameterBuffer, engine: ComputeEngine
  ) {
    engine.multiply(transposed: input, outputGradient, addingTo: gradients[weight])
  }
}
