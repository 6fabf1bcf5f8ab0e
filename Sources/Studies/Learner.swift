import Foundation
import Layers
import Tensors

/// The weights of a small model, their gradients and Adam.
final class Learner {
  let engine: ComputeEngine
  let weights: Weights
  let gradients: ParameterBuffer
  private let optimizer: Optimizer
  private var updateCount = 0

  /// Initial weights from a seed; gradients are clipped to the global norm `clip` (0: no clipping).
  init(_ list: ParameterList, seed: UInt64, clip: Double = 0, engine: ComputeEngine) {
    self.engine = engine
    let values = ParameterBuffer(list)
    values.initialize(seed: seed, engine: engine)
    weights = Weights(values, engine: engine)
    gradients = ParameterBuffer(list)
    var configuration = OptimizerConfiguration()
    configuration.clip = clip
    optimizer = Optimizer(configuration, list: list, engine: engine)
  }

  var parameterCount: Int { weights.values.list.parameterCount }

  /// Applies the gradients and resets them to zero.
  func update(rate: Double) {
    updateCount += 1
    let scale =
      optimizer.configuration.clip > 0
      ? optimizer.clippingScale(norm: optimizer.norm(of: gradients)) : 1
    optimizer.update(
      weights.values, gradient: gradients, gradientScale: scale, learningRate: rate,
      updateCount: updateCount)
    weights.refresh()
    gradients.clear(engine: engine)
  }
}

/// The mean squared error over all elements; `gradient` receives its derivative with respect to the prediction.
func meanSquaredError(_ prediction: Matrix, _ target: Matrix, gradient: Matrix? = nil) -> Double {
  var sum = 0.0
  let scale = 2 / Float(prediction.count)
  for row in 0..<prediction.rowCount {
    for column in 0..<prediction.columnCount {
      let difference = prediction[row, column] - target[row, column]
      sum += Double(difference) * Double(difference)
      gradient?[row, column] = scale * difference
    }
  }
  return sum / Double(prediction.count)
}

extension RandomKey {
  /// Element `index` of the stream, uniform in a range.
  func uniform(_ index: Int, in range: ClosedRange<Double>) -> Double {
    range.lowerBound + (range.upperBound - range.lowerBound) * uniform(index)
  }

  /// Elements 2 · `pair` and 2 · `pair` + 1 of the stream, standard normal (Box & Muller 1958).
  func normalPair(_ pair: Int) -> (Double, Double) {
    let radius = (-2 * log(1 - uniform(2 * pair))).squareRoot()
    let angle = 2 * Double.pi * uniform(2 * pair + 1)
    return (radius * cos(angle), radius * sin(angle))
  }

  /// Fills a contiguous matrix, row by row, with standard normal values.
  func fillNormally(_ matrix: Matrix) {
    let flat = matrix.reshaped(rowCount: 1, columnCount: matrix.count)
    for pair in 0..<(flat.count + 1) / 2 {
      let (first, second) = normalPair(pair)
      flat[0, 2 * pair] = Float(first)
      if 2 * pair + 1 < flat.count { flat[0, 2 * pair + 1] = Float(second) }
    }
  }
}
