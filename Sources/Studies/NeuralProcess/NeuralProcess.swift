import Foundation
import Layers
import Tensors

/// A latent neural process (Garnelo and others, 2018).
///
/// Points are encoded one by one; the mean of their codes gives a normal distribution of z, and a decoder of z and a place
/// gives a normal distribution of y.
final class NeuralProcess {
  /// The minimum standard deviation of y, that of the noise.
  static let minimumDeviation: Float = 0.02

  let learner: Learner
  /// The parameters of the decoder, the only part that differs.
  let decoderParameterCount: Int
  private let encoder: Perceptron
  private let head: Perceptron
  private let arena = Arena()
  private let points: PerceptronActivations
  private let heads: PerceptronActivations
  private let decoder: DecoderPass
  /// Mean codes: of all points of each function in the first half of the rows, of its context in the second.
  private let means: Matrix
  private let meanGradients: Matrix
  /// z of each function; `expandedLatents` repeats it for each of its points.
  private let latents: Matrix
  private let expandedLatents: Matrix
  private let noise: Matrix
  private let pointCount: Int
  private let latentWidth: Int

  init(
    _ kind: DecoderKind, configuration: NeuralProcessConfiguration, seed: UInt64, engine: ComputeEngine
  ) {
    let (hidden, functions) = (configuration.hiddenWidth, configuration.functions)
    latentWidth = configuration.latentWidth
    pointCount = configuration.points
    var list = ParameterList()
    let decoder = kind.make(configuration, in: &list)
    decoderParameterCount = list.parameterCount
    encoder = Perceptron(
      name: "encoder", inputWidth: 2, layers: [(hidden, .relu), (hidden, .relu), (hidden, .identity)],
      in: &list)
    head = Perceptron(
      name: "latent", inputWidth: hidden, layers: [(hidden, .relu), (2 * latentWidth, .identity)],
      in: &list)
    learner = Learner(list, seed: seed, clip: 10, engine: engine)
    let rowCount = functions * pointCount
    points = encoder.activations(rowCount: rowCount, in: arena)
    heads = head.activations(rowCount: 2 * functions, in: arena)
    self.decoder = decoder.pass(rowCount: rowCount, learner: learner, in: arena)
    means = arena.matrix(rowCount: 2 * functions, columnCount: hidden)
    meanGradients = arena.matrix(rowCount: 2 * functions, columnCount: hidden)
    latents = arena.matrix(rowCount: functions, columnCount: latentWidth)
    expandedLatents = arena.matrix(rowCount: rowCount, columnCount: latentWidth)
    noise = arena.matrix(rowCount: functions, columnCount: latentWidth)
  }

  /// Conditioning set of the distribution of z: all points of a function, or its context.
  enum Given { case all, context }

  private func row(_ function: Int, _ given: Given) -> Int {
    given == .all ? function : latents.rowCount + function
  }

  /// The mean and the standard deviation, between 0.1 and 1, of an element of z.
  private func distribution(_ function: Int, _ given: Given, _ element: Int) -> (
    mean: Float, deviation: Float
  ) {
    let row = row(function, given)
    let raw = heads.output[row, latentWidth + element]
    return (heads.output[row, element], 0.1 + 0.9 / (1 + exp(-raw)))
  }

  /// Computes both distributions of z.
  func encode(_ batch: FunctionBatch) {
    encoder.forward(batch.points, weights: learner.weights, activations: points, engine: learner.engine)
    means.fill(0)
    for function in 0..<batch.functionCount {
      for given in [Given.all, .context] {
        let count = given == .all ? pointCount : batch.contextCounts[function]
        let rows = points.output.rows(batch.rows(of: function)).rows(0..<count)
        let mean = means.rows(row(function, given)..<row(function, given) + 1)
        learner.engine.addColumnSums(of: rows, to: mean)
        for column in 0..<mean.columnCount { mean[0, column] /= Float(count) }
      }
    }
    head.forward(means, weights: learner.weights, activations: heads, engine: learner.engine)
  }

  /// Draws z for every function and decodes it at these places, one row per point.
  func decode(at places: Matrix, given: Given, key: RandomKey) {
    key.fillNormally(noise)
    for function in 0..<latents.rowCount {
      for element in 0..<latentWidth {
        let (mean, deviation) = distribution(function, given, element)
        latents[function, element] = mean + deviation * noise[function, element]
      }
      for point in 0..<pointCount {
        expandedLatents.rows(function * pointCount + point..<function * pointCount + point + 1)
          .copy(from: latents.rows(function..<function + 1))
      }
    }
    decoder.forward(expandedLatents, places)
  }

  /// The mean and the standard deviation of y at a point, from the last `decode`.
  func prediction(_ row: Int) -> (mean: Float, deviation: Float) {
    (decoder.output[row, 0], Self.minimumDeviation + softplus(decoder.output[row, 1]))
  }

  /// The log density of a value under the prediction of a row.
  func logDensity(_ row: Int, of value: Float) -> Double {
    let (mean, deviation) = prediction(row)
    let distance = Double((value - mean) / deviation)
    return -distance * distance / 2 - log(Double(deviation)) - log(2 * .pi) / 2
  }

  /// One step on the evidence lower bound, with z drawn given all points.
  func update(on batch: FunctionBatch, rate: Double, key: RandomKey) {
    encode(batch)
    decode(at: batch.points.columns(0..<1), given: .all, key: key)
    let scale = 1 / Float(batch.points.rowCount)
    for row in 0..<batch.points.rowCount {
      let (mean, deviation) = prediction(row)
      let distance = (batch.points[row, 1] - mean) / deviation
      decoder.outputGradient[row, 0] = -scale * distance / deviation
      let slope = 1 / (1 + exp(-decoder.output[row, 1]))
      decoder.outputGradient[row, 1] = scale * (1 - distance * distance) / deviation * slope
    }
    decoder.backward(expandedLatents, batch.points.columns(0..<1))
    setHeadGradients(scale: scale)
    head.backward(
      input: means, weights: learner.weights, gradients: learner.gradients, activations: heads,
      into: meanGradients, engine: learner.engine)
    spreadMeanGradients(batch)
    encoder.backward(
      input: batch.points, weights: learner.weights, gradients: learner.gradients, activations: points,
      engine: learner.engine)
    learner.update(rate: rate)
  }

  /// The gradients of both distributions of z: through the decoder, and of KL(all ‖ context).
  private func setHeadGradients(scale: Float) {
    let gradient = heads.outputGradient
    for function in 0..<latents.rowCount {
      for element in 0..<latentWidth {
        var latentGradient: Float = 0
        for point in 0..<pointCount {
          latentGradient += decoder.latentGradient[function * pointCount + point, element]
        }
        let all = distribution(function, .all, element)
        let context = distribution(function, .context, element)
        let ratio = (all.mean - context.mean) / (context.deviation * context.deviation)
        let meanGradient = latentGradient + scale * ratio
        let variance = context.deviation * context.deviation
        let deviationGradient =
          latentGradient * noise[function, element] + scale
          * (all.deviation / variance - 1 / all.deviation)
        let spread = all.deviation * all.deviation + (all.mean - context.mean) * (all.mean - context.mean)
        let contextDeviationGradient =
          scale * (1 / context.deviation - spread / (variance * context.deviation))
        gradient[row(function, .all), element] = meanGradient
        gradient[row(function, .context), element] = -scale * ratio
        gradient[row(function, .all), latentWidth + element] = deviationGradient * slope(all.deviation)
        gradient[row(function, .context), latentWidth + element] =
          contextDeviationGradient * slope(context.deviation)
      }
    }
  }

  /// The derivative of `0.1 + 0.9 sigmoid(raw)`, from its value.
  private func slope(_ deviation: Float) -> Float {
    let sigmoid = (deviation - 0.1) / 0.9
    return 0.9 * sigmoid * (1 - sigmoid)
  }

  /// Back-propagates through the means: every point contributes to that of all points, a context point also to that of the
  /// context.
  private func spreadMeanGradients(_ batch: FunctionBatch) {
    let gradient = points.outputGradient
    for function in 0..<batch.functionCount {
      let contextCount = batch.contextCounts[function]
      for (place, rowIndex) in batch.rows(of: function).enumerated() {
        for column in 0..<gradient.columnCount {
          var value = meanGradients[row(function, .all), column] / Float(pointCount)
          if place < contextCount {
            value += meanGradients[row(function, .context), column] / Float(contextCount)
          }
          gradient[rowIndex, column] = value
        }
      }
    }
  }
}

/// `log(1 + exp(x))` without overflow.
private func softplus(_ x: Float) -> Float { max(x, 0) + log1p(exp(-abs(x))) }
