import CKernels
import Tensors

/// Layer normalization (Ba, Kiros & Hinton 2016) of rows: `y = gain ⊙ (x − mean) ÷ √(variance + 1e-5) + bias`.
package struct LayerNorm: Sendable {
  /// width.
  package let gain: Parameter
  /// width.
  package let bias: Parameter

  private static let epsilon: Float = 1e-5

  /// Declares `name.gain` and `name.bias`; the gain starts normal around 1 with deviation 0.02.
  package init(name: String, width: Int, in list: inout ParameterList) {
    gain = list.add(
      "\(name).gain", shape: [width], initialization: .normal(mean: 1, deviation: 0.02), decays: false)
    bias = list.add("\(name).bias", shape: [width], initialization: .zero, decays: false)
  }

  /// Activations of a segment, kept for the backward pass.
  package struct Activations: Sendable {
    /// (x − mean) ÷ deviation, rows × width.
    let normalized: Matrix
    /// 1 ÷ deviation, rows × 1.
    let inverseDeviation: Matrix

    /// Memory for `rowCount` rows.
    package init(_ layer: LayerNorm, rowCount: Int, in arena: Arena) {
      normalized = arena.matrix(rowCount: rowCount, columnCount: layer.gain.count)
      inverseDeviation = arena.matrix(rowCount: rowCount, columnCount: 1)
    }
  }

  /// Sets `output`, rows × width, which may not be the input.
  package func forward(
    _ input: Matrix, weights: Weights, activations: Activations, into output: Matrix, engine: ComputeEngine
  ) {
    let (gain, bias) = (weights[gain], weights[bias])
    engine.forEachRowPart(of: input) { rows in
      for row in rows {
        activations.inverseDeviation[row, 0] = CKernels_layerNorm(
          input.row(row), gain.data, bias.data, Self.epsilon, activations.normalized.row(row),
          output.row(row),
          input.columnCount)
      }
    }
  }

  /// Sets dL/dx and adds the gradients of gain and bias; `scratch` is of the input's shape and is overwritten.
  package func backward(
    outputGradient: Matrix, weights: Weights, gradients: ParameterBuffer, activations: Activations,
    into inputGradient: Matrix, scratch: Matrix, engine: ComputeEngine
  ) {
    engine.multiplyElements(outputGradient, activations.normalized, into: scratch)
    engine.addColumnSums(of: scratch, to: gradients[self.gain])
    engine.addColumnSums(of: outputGradient, to: gradients[bias])
    let gain = weights[gain]
    engine.forEachRowPart(of: outputGradient) { rows in
      for row in rows {
        CKernels_layerNormBackward(
          outputGradient.row(row), gain.data, activations.normalized.row(row),
          activations.inverseDeviation[row, 0],
          inputGradient.row(row), outputGradient.columnCount)
      }
    }
  }
}
