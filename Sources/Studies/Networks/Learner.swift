import Layers
import Tensors

/// The weights of a small model with their gradients and Adam.
final class Learner {
  let engine: ComputeEngine
  let weights: Weights
  let gradients: ParameterBuffer
  private let optimizer: Optimizer
  private var updateCount = 0

  /// Initial weights of a seed; a gradient's norm beyond `clip` is scaled down to it, 0 leaves all as they are.
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

  /// How many numbers the model has.
  var parameterCount: Int { weights.values.list.parameterCount }

  /// Moves the weights by the gradients, which begin anew at zero.
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

/// The mean of squared differences over all elements, and where asked for its gradient by the prediction.
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
