import Tensors

/// A Transformer's feed-forward block: `y = ReLU(x · W₁ + c₁) · W₂ + c₂`, with dropout between, which its caller applies.
package struct FeedForward: Sendable {
  private let first: Projection
  private let firstBias: Parameter
  private let second: Projection
  private let secondBias: Parameter

  /// Declares `name.0.weight`, `name.0.bias`, `name.1.weight` and `name.1.bias`; weights start normal with deviation 0.02.
  package init(name: String, width: Int, innerWidth: Int, in list: inout ParameterList) {
    first = Projection(name: "\(name).0.weight", inputWidth: width, outputWidth: innerWidth, in: &list)
    firstBias = list.add("\(name).0.bias", shape: [innerWidth], initialization: .zero, decays: false)
    second = Projection(name: "\(name).1.weight", inputWidth: innerWidth, outputWidth: width, in: &list)
    secondBias = list.add("\(name).1.bias", shape: [width], initialization: .zero, decays: false)
  }

  /// The matrix products of its forward pass.
  package var products: [LayerProduct] { first.products + second.products }

  /// Sets the rectified inner rows, rows × inner.
  package func inner(_ input: Matrix, weights: Weights, into inner: Matrix, engine: ComputeEngine) {
    first.forward(input, weights: weights, into: inner, engine: engine)
    engine.addBiasAndRectify(inner, bias: weights[firstBias])
  }

  /// Sets the output from the inner rows, some of which may have been dropped.
  package func outer(_ inner: Matrix, weights: Weights, into output: Matrix, engine: ComputeEngine) {
    second.forward(inner, weights: weights, into: output, engine: engine)
    engine.add(row: weights[secondBias], toRowsOf: output)
  }

  /// Sets the gradient of the inner rows as `outer` has read them, and adds those of W₂ and c₂.
  package func outerBackward(
    inner: Matrix, outputGradient: Matrix, weights: Weights, gradients: ParameterBuffer,
    into innerGradient: Matrix, engine: ComputeEngine
  ) {
    second.backward(
      input: inner, outputGradient: outputGradient, weights: weights, gradients: gradients,
      into: innerGradient, engine: engine)
    engine.addColumnSums(of: outputGradient, to: gradients[secondBias])
  }

  /// Adds to the input's gradient and to those of W₁ and c₁, from the gradient of the inner rows, which is overwritten.
  package func innerBackward(
    input: Matrix, inner: Matrix, innerGradient: Matrix, weights: Weights, gradients: ParameterBuffer,
    addingTo inputGradient: Matrix, engine: ComputeEngine
  ) {
    engine.rectifyGradient(innerGradient, activated: inner)
    first.backward(
      input: input, outputGradient: innerGradient, weights: weights, gradients: gradients,
      into: inputGradient, adding: true, engine: engine)
    engine.addColumnSums(of: innerGradient, to: gradients[firstBias])
  }
}
