import Foundation
import Tensors

/// Scaled dot-product attention weights, `softmax((x Wₓ)(z W_z)ᵀ / √d)` of rows x over all z (Vaswani & others 2017).
///
/// A logit is the low-rank multiplicative interaction of a context z with an input x, with one output:
/// `A = W_z`, `B = Wₓ`, `C = 1/√d` and `U`, `V`, `b` zero.
package struct AttentionWeights: Sendable {
  /// Wₓ: inputs × d.
  package let query: Parameter
  /// W_z: contexts' width × d.
  package let key: Parameter

  /// Declares `name.Wx` and `name.Wz`, uniform with variance 1 / their inputs.
  package init(name: String, inputWidth: Int, contextWidth: Int, width: Int, in list: inout ParameterList) {
    func projection(_ letter: String, _ fanIn: Int) -> Parameter {
      list.add(
        "\(name).\(letter)", shape: [fanIn, width],
        initialization: .uniform(limit: (3 / Float(fanIn)).squareRoot()))
    }
    query = projection("Wx", inputWidth)
    key = projection("Wz", contextWidth)
  }

  /// Memory for `rowCount` rows of x and `contextCount` rows of z.
  package func activations(
    rowCount: Int, contextCount: Int, in arena: Arena, engine: ComputeEngine
  ) -> AttentionActivations {
    let width = query.columnCount
    let keys = arena.matrix(rowCount: contextCount, columnCount: width)
    return AttentionActivations(
      queries: arena.matrix(rowCount: rowCount, columnCount: width), keys: keys,
      queryGradients: arena.matrix(rowCount: rowCount, columnCount: width),
      keyGradients: arena.matrix(rowCount: contextCount, columnCount: width),
      logitGradients: arena.matrix(rowCount: rowCount, columnCount: contextCount),
      packedKeys: engine.packedMatrix([keys]),
      packedTransposedKeys: engine.packedMatrix([keys], transposed: true))
  }

  private var scale: Float { 1 / Float(query.columnCount).squareRoot() }

  /// Sets the output, rows × contexts, each row a distribution over the contexts.
  package func forward(
    input: Matrix, contexts: Matrix, weights: Weights, activations: AttentionActivations,
    into output: Matrix, engine: ComputeEngine
  ) {
    engine.multiply(input, weights.right(query), into: activations.queries)
    engine.multiply(contexts, weights.right(key), into: activations.keys)
    engine.pack(activations.packedKeys)
    engine.pack(activations.packedTransposedKeys)
    engine.multiply(activations.queries, activations.packedTransposedKeys, into: output)
    let scale = scale
    engine.forEachRowPart(of: output) { rows in
      for index in rows {
        let row = UnsafeMutableBufferPointer(start: output.row(index), count: output.columnCount)
        let largest = row.reduce(-Float.infinity) { max($0, $1) }
        var sum: Float = 0
        for column in row.indices {
          row[column] = exp((row[column] - largest) * scale)
          sum += row[column]
        }
        for column in row.indices { row[column] /= sum }
      }
    }
  }

  /// Sets the gradients of input and contexts and adds those of the weights; `output` is the result of `forward`.
  package func backward(
    input: Matrix, contexts: Matrix, output: Matrix, outputGradient: Matrix, weights: Weights,
    gradients: ParameterBuffer, activations: AttentionActivations, intoInput inputGradient: Matrix,
    intoContexts contextGradient: Matrix, engine: ComputeEngine
  ) {
    let (scale, logitGradients) = (scale, activations.logitGradients)
    engine.forEachRowPart(of: output) { rows in
      for index in rows {
        let (p, dp, logit) = (output.row(index), outputGradient.row(index), logitGradients.row(index))
        var mean: Float = 0
        for column in 0..<output.columnCount { mean += p[column] * dp[column] }
        for column in 0..<output.columnCount { logit[column] = p[column] * (dp[column] - mean) * scale }
      }
    }
    engine.multiply(logitGradients, activations.packedKeys, into: activations.queryGradients)
    activations.keyGradients.fill(0)
    engine.multiply(transposed: logitGradients, activations.queries, addingTo: activations.keyGradients)
    engine.multiply(transposed: input, activations.queryGradients, addingTo: gradients[query])
    engine.multiply(transposed: contexts, activations.keyGradients, addingTo: gradients[key])
    engine.multiply(activations.queryGradients, weights.right(transposed: query), into: inputGradient)
    engine.multiply(activations.keyGradients, weights.right(transposed: key), into: contextGradient)
  }
}

/// Intermediate values of attention weights, saved from forward to backward.
package struct AttentionActivations: Sendable {
  let queries: Matrix
  let keys: Matrix
  let queryGradients: Matrix
  let keyGradients: Matrix
  let logitGradients: Matrix
  let packedKeys: PackedMatrix
  let packedTransposedKeys: PackedMatrix
}
