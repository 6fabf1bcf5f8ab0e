import Foundation
import Tensors

/// The activation function of a layer, applied element by element.
package enum Activation: String, CaseIterable, Sendable, Codable {
  /// `x`.
  case identity
  /// `max(x, 0)`.
  case relu
  /// `1 / (1 + exp(−x))`.
  case sigmoid

  /// Adds the bias to every row and applies the function, in place.
  func apply(to values: Matrix, bias: Matrix, engine: ComputeEngine) {
    switch self {
    case .relu:
      engine.addBiasAndRectify(values, bias: bias)
    case .identity:
      engine.add(row: bias, toRowsOf: values)
    case .sigmoid:
      engine.add(row: bias, toRowsOf: values)
      engine.forEachRowPart(of: values) { rows in
        for index in rows {
          let row = values.row(index)
          for column in 0..<values.columnCount { row[column] = 1 / (1 + exp(-row[column])) }
        }
      }
    }
  }

  /// Replaces the gradient of the function's value by that of its argument, in place.
  func differentiate(_ gradient: Matrix, activated: Matrix, engine: ComputeEngine) {
    switch self {
    case .identity:
      break
    case .relu:
      engine.rectifyGradient(gradient, activated: activated)
    case .sigmoid:
      engine.forEachRowPart(of: gradient) { rows in
        for index in rows {
          let (row, value) = (gradient.row(index), activated.row(index))
          for column in 0..<gradient.columnCount { row[column] *= value[column] * (1 - value[column]) }
        }
      }
    }
  }
}
