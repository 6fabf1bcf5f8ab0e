import Layers
import Tensors

/// How a decoder combines the latent variable z and a place x*; the outputs are a mean and a raw standard deviation.
enum DecoderKind: String, CaseIterable, Codable, Sendable {
  /// `MLP([z; x*])`.
  case concatenation
  /// `MLP(M(z, x*))`: the interaction in place of the first layer.
  case interactionFirst
  /// `M(z, MLP(x*))`: the interaction in place of the last layer.
  case interactionLast

  /// The name in figures.
  var title: String {
    switch self {
    case .concatenation: "MLP([z; x*])"
    case .interactionFirst: "MLP(M(z, x*))"
    case .interactionLast: "M(z, MLP(x*))"
    }
  }

  func make(_ configuration: NeuralProcessConfiguration, in list: inout ParameterList) -> any LatentDecoder {
    let (latent, width) = (configuration.latentWidth, configuration.hiddenWidth)
    switch self {
    case .concatenation: return ConcatenationDecoder(latentWidth: latent, width: width, in: &list)
    case .interactionFirst:
      return FirstInteractionDecoder(latentWidth: latent, width: widthOfEqualSize(latent, width), in: &list)
    case .interactionLast:
      return LastInteractionDecoder(latentWidth: latent, width: widthOfEqualSize(latent, width), in: &list)
    }
  }

  /// The widest hidden layers with at most the parameters of the MLP decoder.
  private func widthOfEqualSize(_ latent: Int, _ width: Int) -> Int {
    func count(_ kind: DecoderKind, _ width: Int) -> Int {
      var list = ParameterList()
      switch kind {
      case .concatenation: _ = ConcatenationDecoder(latentWidth: latent, width: width, in: &list)
      case .interactionFirst: _ = FirstInteractionDecoder(latentWidth: latent, width: width, in: &list)
      case .interactionLast: _ = LastInteractionDecoder(latentWidth: latent, width: width, in: &list)
      }
      return list.parameterCount
    }
    let limit = count(.concatenation, width)
    return (1...width).last { count(self, $0) <= limit } ?? 1
  }
}

/// A network of rows of z and of x*, with two outputs.
protocol LatentDecoder {
  func pass(rowCount: Int, learner: Learner, in arena: Arena) -> DecoderPass
}

/// A decoder with memory for a number of rows.
struct DecoderPass {
  let output: Matrix
  /// The derivative with respect to `output`, read by `backward`.
  let outputGradient: Matrix
  /// The derivative with respect to the rows of z, set by `backward`.
  let latentGradient: Matrix
  let forward: (_ latents: Matrix, _ places: Matrix) -> Void
  let backward: (_ latents: Matrix, _ places: Matrix) -> Void
}

private struct ConcatenationDecoder: LatentDecoder {
  let latentWidth: Int
  let network: Perceptron

  init(latentWidth: Int, width: Int, in list: inout ParameterList) {
    self.latentWidth = latentWidth
    network = Perceptron(
      name: "decoder", inputWidth: latentWidth + 1,
      layers: [(width, .relu), (width, .relu), (2, .identity)], in: &list)
  }

  func pass(rowCount: Int, learner: Learner, in arena: Arena) -> DecoderPass {
    let body = network.activations(rowCount: rowCount, in: arena)
    let joined = arena.matrix(rowCount: rowCount, columnCount: latentWidth + 1)
    let joinedGradient = arena.matrix(rowCount: rowCount, columnCount: latentWidth + 1)
    let latentColumns = 0..<latentWidth
    return DecoderPass(
      output: body.output, outputGradient: body.outputGradient,
      latentGradient: joinedGradient.columns(latentColumns)
    ) { latents, places in
      joined.columns(latentColumns).copy(from: latents)
      joined.columns(latentWidth..<latentWidth + 1).copy(from: places)
      network.forward(joined, weights: learner.weights, activations: body, engine: learner.engine)
    } backward: { _, _ in
      network.backward(
        input: joined, weights: learner.weights, gradients: learner.gradients, activations: body,
        into: joinedGradient, engine: learner.engine)
    }
  }
}

private struct FirstInteractionDecoder: LatentDecoder {
  let interaction: MultiplicativeInteraction
  let network: Perceptron

  init(latentWidth: Int, width: Int, in list: inout ParameterList) {
    interaction = MultiplicativeInteraction(
      name: "interaction", kind: .full,
      shape: InteractionShape(contextWidth: latentWidth, inputWidth: 1, outputWidth: width, rank: 1),
      in: &list)
    network = Perceptron(
      name: "decoder", inputWidth: width, layers: [(width, .relu), (2, .identity)], in: &list)
  }

  func pass(rowCount: Int, learner: Learner, in arena: Arena) -> DecoderPass {
    let shape = interaction.shape
    spreadKinks(learner)
    let bottom = interaction.activations(rowCount: rowCount, in: arena)
    let body = network.activations(rowCount: rowCount, in: arena)
    let hidden = arena.matrix(rowCount: rowCount, columnCount: shape.outputWidth)
    let hiddenGradient = arena.matrix(rowCount: rowCount, columnCount: shape.outputWidth)
    let noBias = arena.matrix(rowCount: 1, columnCount: shape.outputWidth)
    let latentGradient = arena.matrix(rowCount: rowCount, columnCount: shape.contextWidth)
    let placeGradient = arena.matrix(rowCount: rowCount, columnCount: 1)
    let (weights, gradients, engine) = (learner.weights, learner.gradients, learner.engine)
    return DecoderPass(
      output: body.output, outputGradient: body.outputGradient, latentGradient: latentGradient
    ) { latents, places in
      interaction.forward(
        context: latents, input: places, weights: weights, activations: bottom, into: hidden,
        engine: engine)
      engine.addBiasAndRectify(hidden, bias: noBias)
      network.forward(hidden, weights: weights, activations: body, engine: engine)
    } backward: { latents, places in
      network.backward(
        input: hidden, weights: weights, gradients: gradients, activations: body, into: hiddenGradient,
        engine: engine)
      engine.rectifyGradient(hiddenGradient, activated: hidden)
      interaction.backward(
        context: latents, input: places, outputGradient: hiddenGradient, weights: weights,
        gradients: gradients, activations: bottom, intoContext: latentGradient, intoInput: placeGradient,
        engine: engine)
    }
  }

  /// Spreads the kinks of the rectified units over x, as initialization does in the other decoders; an interaction's bias
  /// is initialized to zero.
  private func spreadKinks(_ learner: Learner) {
    let bias = learner.weights.values[interaction.b]
    let key = RandomKey(seed: 0).derived(interaction.b.name)
    for column in 0..<bias.columnCount { bias[0, column] = Float(key.uniform(column, in: -1...1)) }
  }
}

private struct LastInteractionDecoder: LatentDecoder {
  let interaction: MultiplicativeInteraction
  let network: Perceptron

  init(latentWidth: Int, width: Int, in list: inout ParameterList) {
    network = Perceptron(
      name: "decoder", inputWidth: 1, layers: [(width, .relu), (width, .relu)], in: &list)
    interaction = MultiplicativeInteraction(
      name: "interaction", kind: .full,
      shape: InteractionShape(contextWidth: latentWidth, inputWidth: width, outputWidth: 2, rank: 1),
      in: &list)
  }

  func pass(rowCount: Int, learner: Learner, in arena: Arena) -> DecoderPass {
    let body = network.activations(rowCount: rowCount, in: arena)
    let top = interaction.activations(rowCount: rowCount, in: arena)
    let output = arena.matrix(rowCount: rowCount, columnCount: 2)
    let outputGradient = arena.matrix(rowCount: rowCount, columnCount: 2)
    let latentGradient = arena.matrix(rowCount: rowCount, columnCount: interaction.shape.contextWidth)
    let (weights, gradients, engine) = (learner.weights, learner.gradients, learner.engine)
    return DecoderPass(output: output, outputGradient: outputGradient, latentGradient: latentGradient) {
      latents, places in
      network.forward(places, weights: weights, activations: body, engine: engine)
      interaction.forward(
        context: latents, input: body.output, weights: weights, activations: top, into: output,
        engine: engine)
    } backward: { latents, places in
      interaction.backward(
        context: latents, input: body.output, outputGradient: outputGradient, weights: weights,
        gradients: gradients, activations: top, intoContext: latentGradient, intoInput: body.outputGradient,
        engine: engine)
      network.backward(
        input: places, weights: weights, gradients: gradients, activations: body, engine: engine)
    }
  }
}
