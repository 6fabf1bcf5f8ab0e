import Layers
import Tensors

/// From the core's output h to z: h itself, a linear layer, or a multiplicative interaction whose context is computed from h.
struct Decoder: Sendable {
  enum Kind: Sendable {
    case identity
    case linear(Linear)
    case interaction(RectifiedLinear, MultiplicativeInteraction)
  }

  let kind: Kind

  init(_ configuration: ModelConfiguration, in list: inout ParameterList) {
    let hidden = configuration.coreWidth
    let width = configuration.embedding
    switch configuration.variant {
    case .txl where hidden == width, .txlMI where hidden == width:
      kind = .identity
    case .lstm, .txl, .txlMI:
      kind = .linear(Linear(name: "decoder", inputWidth: hidden, outputWidth: width, in: &list))
    case .multdec, .multencdec, .txlMultdec:
      let shape = InteractionShape(
        contextWidth: configuration.decoderContext, inputWidth: hidden, outputWidth: width,
        rank: configuration.rank)
      kind = .interaction(
        RectifiedLinear(
          name: "decoder.context", inputWidth: hidden, outputWidth: shape.contextWidth,
          learningRateScale: shape.contextLearningRateScale, in: &list),
        MultiplicativeInteraction(name: "decoder", kind: configuration.form, shape: shape, in: &list))
    }
  }

  /// Activations of a segment, kept for the backward pass; absent without an interaction.
  struct Activations: Sendable {
    let context: Matrix
    let contextGradient: Matrix
    let interaction: InteractionActivations

    /// The view of some rows.
    func rows(_ range: Range<Int>) -> Activations {
      Activations(
        context: context.rows(range), contextGradient: contextGradient.rows(range),
        interaction: interaction.rows(range))
    }
  }

  /// The matrix products of `forward`.
  var products: [LayerProduct] {
    switch kind {
    case .identity: []
    case .linear(let linear): linear.products
    case .interaction(let context, let interaction):
      context.products + interaction.projectProducts + interaction.contractProducts
    }
  }

  func activations(rowCount: Int, in arena: Arena) -> Activations? {
    guard case .interaction(_, let interaction) = kind else { return nil }
    let width = interaction.shape.contextWidth
    return Activations(
      context: arena.matrix(rowCount: rowCount, columnCount: width),
      contextGradient: arena.matrix(rowCount: rowCount, columnCount: width),
      interaction: interaction.activations(rowCount: rowCount, in: arena))
  }

  /// Sets z, rows × E, from h, rows × H.
  func forward(
    _ hidden: Matrix, weights: Weights, activations: Activations?, into output: Matrix,
    engine: ComputeEngine
  ) {
    switch (kind, activations) {
    case (.interaction(let linear, let interaction), let saved?):
      linear.forward(hidden, weights: weights, into: saved.context, engine: engine)
      interaction.project(hidden, weights: weights, activations: saved.interaction, engine: engine)
      interaction.contract(
        context: saved.context, weights: weights, activations: saved.interaction, into: output, engine: engine
      )
    case (.identity, _):
      output.copy(from: hidden)
    case (.linear(let linear), _):
      linear.forward(hidden, weights: weights, into: output, engine: engine)
    case (.interaction, nil):
      preconditionFailure("a multiplicative decoder without its activations")
    }
  }

  /// Sets dL/dh from dL/dz and adds the weights' gradients.
  func backward(
    _ hidden: Matrix, outputGradient: Matrix, weights: Weights, gradients: ParameterBuffer,
    activations: Activations?, into hiddenGradient: Matrix, engine: ComputeEngine
  ) {
    switch (kind, activations) {
    case (.interaction(let linear, let interaction), let saved?):
      interaction.contractBackward(
        outputGradient: outputGradient, weights: weights, activations: saved.interaction,
        into: saved.contextGradient, engine: engine)
      interaction.projectBackward(
        input: hidden, context: saved.context, outputGradient: outputGradient, weights: weights,
        gradients: gradients, activations: saved.interaction, into: hiddenGradient, engine: engine)
      linear.backward(
        output: saved.context, outputGradient: saved.contextGradient, weights: weights,
        addingTo: hiddenGradient, engine: engine)
      linear.addWeightGradients(
        input: hidden, rectifiedGradient: saved.contextGradient, gradients: gradients, engine: engine)
    case (.identity, _):
      hiddenGradient.copy(from: outputGradient)
    case (.linear(let linear), _):
      linear.backward(
        input: hidden, outputGradient: outputGradient, weights: weights, gradients: gradients,
        into: hiddenGradient, engine: engine)
    case (.interaction, nil):
      preconditionFailure("a multiplicative decoder without its activations")
    }
  }
}
