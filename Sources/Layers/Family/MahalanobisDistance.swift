import Tensors

/// A learned Mahalanobis distance: `(x − z)ᵀ C⁻¹ (x − z)` with `C⁻¹ = L Lᵀ`, which is `‖(x − z) · L‖²`.
///
/// It is the full multiplicative interaction of x − z with itself, with one output, `W[k, m, 0] = (L Lᵀ)[k, m]` and
/// `U`, `V`, `b` zero.
package struct MahalanobisDistance: Sendable {
  /// L: width × rank.
  package let factor: Parameter

  /// Declares `name.L`, uniform with variance 1 / width.
  package init(name: String, width: Int, rank: Int, in list: inout ParameterList) {
    factor = list.add(
      "\(name).L", shape: [width, rank], initialization: .uniform(limit: (3 / Float(width)).squareRoot()))
  }

  /// Memory for `rowCount` pairs.
  package func activations(rowCount: Int, in arena: Arena) -> MahalanobisActivations {
    MahalanobisActivations(
      difference: arena.matrix(rowCount: rowCount, columnCount: factor.rowCount),
      projected: arena.matrix(rowCount: rowCount, columnCount: factor.columnCount),
      projectedGradient: arena.matrix(rowCount: rowCount, columnCount: factor.columnCount))
  }

  /// Sets the squared distances, rows × 1, of rows of x and z.
  package func forward(
    _ x: Matrix, _ z: Matrix, weights: Weights, activations: MahalanobisActivations,
    into distances: Matrix, engine: ComputeEngine
  ) {
    let difference = activations.difference
    for row in 0..<difference.rowCount {
      for column in 0..<difference.columnCount {
        difference[row, column] = x[row, column] - z[row, column]
      }
    }
    engine.multiply(difference, weights.right(factor), into: activations.projected)
    engine.rowDots(activations.projected, activations.projected, into: distances)
  }

  /// Sets the gradients of x and z and adds L's: `dx = −dz = 2 d (x − z) L Lᵀ`.
  package func backward(
    distanceGradient: Matrix, weights: Weights, gradients: ParameterBuffer,
    activations: MahalanobisActivations, intoX xGradient: Matrix, intoZ zGradient: Matrix,
    engine: ComputeEngine
  ) {
    let gradient = activations.projectedGradient
    for row in 0..<gradient.rowCount {
      for column in 0..<gradient.columnCount {
        gradient[row, column] = 2 * distanceGradient[row, 0] * activations.projected[row, column]
      }
    }
    engine.multiply(transposed: activations.difference, gradient, addingTo: gradients[factor])
    engine.multiply(gradient, weights.right(transposed: factor), into: xGradient)
    for row in 0..<zGradient.rowCount {
      for column in 0..<zGradient.columnCount { zGradient[row, column] = -xGradient[row, column] }
    }
  }
}

/// Intermediate values of Mahalanobis distances, saved from forward to backward.
package struct MahalanobisActivations: Sendable {
  let difference: Matrix
  let projected: Matrix
  let projectedGradient: Matrix
}
