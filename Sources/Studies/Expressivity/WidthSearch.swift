import Layers
import Tensors

/// Searches the narrowest network that represents one function.
struct WidthSearch {
  let examples: TargetExamples
  let configuration: ExpressivityConfiguration
  let seed: UInt64
  let engine: ComputeEngine

  private var outputWidth: Int { examples.target.outputWidth(dimension: examples.dimension) }

  /// The narrowest hidden layer that reaches the threshold: doubles the width until it does, then bisects.
  func narrowest(_ activation: Activation) -> ExpressivityStudy.Outcome {
    var tooNarrow = 0
    var width = 1
    var best: ExpressivityStudy.Outcome
    while true {
      best = trained(width: width, activation)
      if best.error <= configuration.threshold { break }
      if width >= configuration.maximumWidth { return ExpressivityStudy.Outcome(error: best.error) }
      tooNarrow = width
      width = min(2 * width, configuration.maximumWidth)
    }
    while Double(width - tooNarrow) > max(1, configuration.widthPrecision * Double(width)) {
      let middle = (tooNarrow + width) / 2
      let outcome = trained(width: middle, activation)
      if outcome.error <= configuration.threshold {
        (best, width) = (outcome, middle)
      } else {
        tooNarrow = middle
      }
    }
    return best
  }

  /// A trained interaction.
  func interaction(_ kind: InteractionKind) -> ExpressivityStudy.Outcome {
    best {
      .interaction(
        kind, dimension: examples.dimension, outputWidth: outputWidth, batch: configuration.batch,
        seed: seed, engine: engine)
    }
  }

  /// The full interaction with the weights of the exact solution.
  func exact() -> ExpressivityStudy.Outcome {
    let network = ExpressivityNetwork.interaction(
      .full, dimension: examples.dimension, outputWidth: outputWidth, batch: configuration.batch,
      seed: seed, engine: engine)
    network.writeSolution(of: examples)
    return measured(network, width: nil, error: network.error(on: examples))
  }

  /// The widest network of rectified units with at most the parameters of a full interaction, and at least one unit.
  func equalSize() -> ExpressivityStudy.Outcome {
    let dimension = examples.dimension
    let limit = (dimension * dimension + 2 * dimension + 1) * outputWidth
    return trained(width: max(1, (limit - outputWidth) / (2 * dimension + 1 + outputWidth)), .relu)
  }

  private func trained(width: Int, _ activation: Activation) -> ExpressivityStudy.Outcome {
    best(width: width) {
      .perceptron(
        width: width, activation: activation, dimension: examples.dimension, outputWidth: outputWidth,
        batch: configuration.batch, seed: seed, engine: engine)
    }
  }

  /// The first learning rate that reaches the threshold, or the best of all.
  private func best(
    width: Int? = nil, _ make: () -> ExpressivityNetwork
  ) -> ExpressivityStudy.Outcome {
    var best: ExpressivityStudy.Outcome?
    for rate in configuration.rates {
      let network = make()
      let error = train(network, rate: rate)
      if error < best?.error ?? .infinity || best == nil {
        best = measured(network, width: width, error: error)
      }
      if error <= configuration.threshold { break }
    }
    return best ?? ExpressivityStudy.Outcome(error: .infinity)
  }

  private func measured(
    _ network: ExpressivityNetwork, width: Int?, error: Double
  ) -> ExpressivityStudy.Outcome {
    let kept = network.dropWeights(below: configuration.droppedBelow)
    return ExpressivityStudy.Outcome(
      width: width, parameterCount: network.learner.parameterCount, keptCount: kept, error: error,
      errorAfterDropping: network.error(on: examples))
  }

  /// Trains with a cosine schedule.
  ///
  /// Stops half-way if the error is far above the threshold: the second half reduces it by
  /// a small factor only.
  private func train(_ network: ExpressivityNetwork, rate: Double) -> Double {
    let hopeless = 6 * configuration.threshold
    var schedule = Schedule()
    schedule.warmup = min(100, configuration.steps / 10)
    schedule.final = 0
    let (batch, steps) = (configuration.batch, configuration.steps)
    let arena = Arena()
    let gradient = arena.matrix(rowCount: batch, columnCount: outputWidth)
    for step in 0..<steps {
      let first = step * batch % examples.inputs.rowCount
      let inputs = examples.inputs.rows(first..<first + batch)
      network.forward(inputs)
      _ = meanSquaredError(
        network.output, examples.outputs.rows(first..<first + batch), gradient: gradient)
      network.backward(inputs, gradient)
      network.learner.update(
        rate: schedule.learningRate(step: step, stepCount: steps, peak: rate))
      if step == steps / 2 {
        let error = network.error(on: examples)
        if !(error <= hopeless) { return error.isFinite ? error : .infinity }
      }
    }
    let error = withExtendedLifetime(arena) { network.error(on: examples) }
    return error.isFinite ? error : .infinity
  }
}
