import Layers
import Tensors

/// Scores one stream and learns from it by gradient descent: dynamic evaluation by Krause and others (2018).
///
/// The stream is read in segments of T tokens. After a segment has been scored, every tensor is updated once:
/// `θ ← θ − rate · scale · ∂(mean loss of the segment)/∂θ`, back-propagated to the segment's first token; `scale` is
/// the tensor's own learning rate scale, as in training. There is no momentum, no clipping and no dropout.
/// The parameters are the scorer's own copy, and every segment is scored by a model that has not seen it.
package final class DynamicScorer: BlockScorer, Sendable {
  private let model: LanguageModel
  private let parameters: ParameterBuffer
  private let gradients: ParameterBuffer
  private let optimizer: Optimizer
  private let learningRate: Double
  private let pass: SegmentPass
  private let losses: Vector<Double>
  private let engine: ComputeEngine
  private let arena = Arena()

  /// z of the segment read last.
  package var output: Matrix { pass.output }

  /// A scorer that starts with a copy of `parameters` and the zero state, and learns at `learningRate` after
  /// every `stepCount` tokens.
  package init(
    _ model: LanguageModel, parameters: ParameterBuffer, stepCount: Int, learningRate: Double,
    engine: ComputeEngine
  ) {
    var configuration = model.configuration
    configuration.inputDropout = 0
    configuration.outputDropout = 0
    configuration.hiddenDropout = 0
    configuration.attentionDropout = 0
    self.model = LanguageModel(configuration, vocabularySize: model.vocabularySize)
    self.engine = engine
    self.learningRate = learningRate
    self.parameters = ParameterBuffer(self.model.parameters)
    self.parameters.copy(from: parameters, engine: engine)
    gradients = ParameterBuffer(self.model.parameters)
    var rule = OptimizerConfiguration()
    rule.kind = .sgd
    rule.momentum = 0
    rule.clip = 0
    optimizer = Optimizer(rule, list: self.model.parameters, engine: engine)
    pass = SegmentPass(
      self.model, parameters: self.parameters, stepCount: stepCount, laneCount: 1, accumulation: 1,
      engine: engine, purpose: .dynamicEvaluation)
    losses = arena.vector(of: Double.self, count: stepCount)
  }

  /// Sets the carried state to zero; the parameters keep what they have learned.
  package func resetState() { pass.carriedState.reset() }

  /// Reads a segment, scores its first tokens and learns from it if it is complete.
  package func score(
    inputs: Vector<Int32>, targets: Vector<Int32>, rowCount: Int
  ) throws -> Vector<Double> {
    let isWhole = rowCount == pass.stepCount
    if isWhole {
      try addGradients(inputs: inputs, targets: targets)
    } else {
      pass.forward(inputs)
      pass.carryState()
    }
    // The weights of the pass are still those with which the segment was read.
    let rows = 0..<rowCount
    model.softmax.score(
      pass.output.rows(rows), targets: targets[rows], weights: pass.weights, into: losses[rows],
      workspace: pass.softmax)
    if isWhole { learn() }
    return losses[rows]
  }

  private func addGradients(inputs: Vector<Int32>, targets: Vector<Int32>) throws {
    gradients.clear(engine: engine)
    let segment = Segment(
      inputs: inputs, targets: targets, firstLane: 0, firstTime: 0, key: RandomKey(seed: 0))
    _ = try pass.accumulate(
      segment, index: 0, lossScale: 1 / Float(pass.stepCount), gradients: gradients,
      sink: LocalGradientSink(adding: gradients[model.tiedMatrix], engine: engine))
  }

  private func learn() {
    optimizer.update(
      parameters, gradient: gradients, gradientScale: 1, learningRate: learningRate, updateCount: 1)
    pass.refreshWeights()
  }
}
