import Layers
import Tensors

/// The LSTM, and before it the multiplicative encoder where the variant has one,
/// over the T steps of a segment.
///
/// The encoder's context is computed from the previous step's h, inside the loop; the part that depends on x alone is one
/// product before it.
struct Recurrence: SequenceCore {
  let lstm: LSTM
  /// The context's layer and the interaction; nil where x is the LSTM's input.
  let encoder: (context: RectifiedLinear, interaction: MultiplicativeInteraction)?
  /// The LSTM's, and the encoder's where there is one, in the order in which `backward` finishes them.
  let gradientRanges: [GradientRange]

  init(_ configuration: ModelConfiguration, in list: inout ParameterList) {
    let start = list.elementCount
    lstm = LSTM(inputWidth: configuration.embedding, hiddenWidth: configuration.hidden, in: &list)
    let end = list.elementCount
    let lstmRange = GradientRange(.recurrence, name: "lstm", range: start..<end)
    guard configuration.variant == .multencdec else {
      encoder = nil
      gradientRanges = [lstmRange]
      return
    }
    let shape = InteractionShape(
      contextWidth: configuration.encoderContext, inputWidth: configuration.embedding,
      outputWidth: configuration.embedding, rank: configuration.rank)
    encoder = (
      RectifiedLinear(
        name: "encoder.context", inputWidth: configuration.hidden, outputWidth: shape.contextWidth,
        learningRateScale: shape.contextLearningRateScale, in: &list),
      MultiplicativeInteraction(name: "encoder", kind: configuration.form, shape: shape, in: &list)
    )
    gradientRanges = [
      lstmRange, GradientRange(.recurrence, name: "encoder", range: end..<list.elementCount),
    ]
  }

  /// H.
  var outputWidth: Int { lstm.hiddenWidth }

  /// The matrix products of `forward`; with an encoder the LSTM's input is computed within the recurrence.
  var products: [LayerProduct] {
    guard let encoder else { return lstm.products }
    let recurrent = encoder.context.products + encoder.interaction.contractProducts + lstm.products
    return encoder.interaction.projectProducts + recurrent.map(\.perStep)
  }

  func pass(
    stepCount: Int, laneCount: Int, purpose: PassPurpose, engine: ComputeEngine, in arena: Arena
  ) -> any CorePass {
    RecurrencePass(self, stepCount: stepCount, laneCount: laneCount, in: arena)
  }
}

/// The values of a segment that the recurrence's backward pass needs.
struct RecurrencePass: CorePass {
  private let recurrence: Recurrence
  private let saved: LSTM.Activations
  /// dL/dh before the current step of the backward pass, B × H.
  private let previousGradient: Matrix
  private let encoded: EncoderActivations?
  private let stepCount: Int
  private let laneCount: Int

  /// The encoder's rows, time-major.
  private struct EncoderActivations: Sendable {
    let context: Matrix
    let contextGradient: Matrix
    let output: Matrix
    let outputGradient: Matrix
    let interaction: InteractionActivations
  }

  init(_ recurrence: Recurrence, stepCount: Int, laneCount: Int, in arena: Arena) {
    self.recurrence = recurrence
    self.stepCount = stepCount
    self.laneCount = laneCount
    let rowCount = stepCount * laneCount
    encoded = recurrence.encoder.map { _, interaction in
      EncoderActivations(
        context: arena.matrix(rowCount: rowCount, columnCount: interaction.shape.contextWidth),
        contextGradient: arena.matrix(rowCount: rowCount, columnCount: interaction.shape.contextWidth),
        output: arena.matrix(rowCount: rowCount, columnCount: interaction.shape.outputWidth),
        outputGradient: arena.matrix(rowCount: rowCount, columnCount: interaction.shape.outputWidth),
        interaction: interaction.activations(rowCount: rowCount, in: arena))
    }
    saved = LSTM.Activations(recurrence.lstm, stepCount: stepCount, laneCount: laneCount, in: arena)
    previousGradient = arena.matrix(rowCount: laneCount, columnCount: recurrence.lstm.hiddenWidth)
  }

  var outputs: Matrix { saved.outputs }

  var carriedState: CarriedState { state(before: 0) }

  func carryState(after stepCount: Int) { state(before: 0).copy(from: state(before: stepCount)) }

  /// h and c before a step; after the last one where it is T.
  private func state(before step: Int) -> CarriedState {
    CarriedState([.init("h", saved.hidden.rows(rows(step))), .init("c", saved.cell.rows(rows(step)))])
  }

  private func rows(_ step: Int) -> Range<Int> { step * laneCount..<(step + 1) * laneCount }

  /// Runs the steps of x; slot 0 of the LSTM's state is the carried one.
  func forward(_ input: Matrix, weights: Weights, masks: DropoutMasks?, engine: ComputeEngine) {
    let lstm = recurrence.lstm
    let stepCount = input.rowCount / laneCount
    guard let encoder = recurrence.encoder, let encoded else {
      lstm.addInput(
        input, rows: 0..<input.rowCount, weights: weights, activations: saved, engine: engine)
      for step in 0..<stepCount {
        lstm.forward(step: step, weights: weights, activations: saved, engine: engine)
      }
      return
    }
    encoder.interaction.project(
      input, weights: weights, activations: encoded.interaction.rows(0..<input.rowCount), engine: engine)
    for step in 0..<stepCount {
      let rows = self.rows(step)
      let context = encoded.context.rows(rows)
      encoder.context.forward(saved.hiddenBefore(step), weights: weights, into: context, engine: engine)
      encoder.interaction.contract(
        context: context, weights: weights, activations: encoded.interaction.rows(rows),
        into: encoded.output.rows(rows), engine: engine)
      lstm.addInput(
        encoded.output.rows(rows), rows: rows, weights: weights, activations: saved, engine: engine)
      lstm.forward(step: step, weights: weights, activations: saved, engine: engine)
    }
  }

  /// Back-propagates through all steps.
  ///
  /// `outputGradient` is the decoder's part of dL/dh of each step.
  func backward(
    _ input: Matrix, outputGradient: Matrix, weights: Weights, gradients: ParameterBuffer,
    into inputGradient: Matrix, masks: DropoutMasks?, engine: ComputeEngine, sink: (any GradientSink)?
  ) throws {
    let lstm = recurrence.lstm
    lstm.startBackward(saved)
    previousGradient.fill(0)
    for step in (0..<stepCount).reversed() {
      let hiddenGradient = outputGradient.rows(rows(step))
      engine.add(previousGradient, to: hiddenGradient)
      lstm.backward(
        step: step, outputGradient: hiddenGradient, weights: weights, into: previousGradient,
        activations: saved, engine: engine)
      encoderBackward(step: step, weights: weights, engine: engine)
    }
    guard let encoder = recurrence.encoder, let encoded else {
      lstm.inputBackward(
        rows: 0..<input.rowCount, weights: weights, into: inputGradient, activations: saved, engine: engine)
      lstm.addWeightGradients(input: input, gradients: gradients, activations: saved, engine: engine)
      try sink?.finish(recurrence.gradientRanges[0])
      return
    }
    lstm.addWeightGradients(
      input: encoded.output, gradients: gradients, activations: saved, engine: engine)
    try sink?.finish(recurrence.gradientRanges[0])
    encoder.context.addWeightGradients(
      input: saved.hidden.rows(0..<input.rowCount), rectifiedGradient: encoded.contextGradient,
      gradients: gradients, engine: engine)
    encoder.interaction.projectBackward(
      input: input, context: encoded.context, outputGradient: encoded.outputGradient, weights: weights,
      gradients: gradients, activations: encoded.interaction, into: inputGradient, engine: engine)
    try sink?.finish(recurrence.gradientRanges[1])
  }

  /// Back-propagates the encoder of one step: its context's part of dL/dh is added to `previousGradient`.
  private func encoderBackward(step: Int, weights: Weights, engine: ComputeEngine) {
    guard let encoder = recurrence.encoder, let encoded else { return }
    let rows = self.rows(step)
    let outputGradient = encoded.outputGradient.rows(rows)
    recurrence.lstm.inputBackward(
      rows: rows, weights: weights, into: outputGradient, activations: saved, engine: engine)
    let contextGradient = encoded.contextGradient.rows(rows)
    encoder.interaction.contractBackward(
      outputGradient: outputGradient, weights: weights, activations: encoded.interaction.rows(rows),
      into: contextGradient, engine: engine)
    encoder.context.backward(
      output: encoded.context.rows(rows), outputGradient: contextGradient, weights: weights,
      addingTo: previousGradient, engine: engine)
  }
}
