import Layers
import Tensors

/// A layer of a Transformer-XL: attention to the segment and the memory, and a feed-forward block, each with a residual sum and
/// layer normalization after it.
///
/// `y = LN(x + o·Wₒ)`, or with a multiplicative interaction `y = LN(x ⊙ (1 + o·D) + o·Wₒ)`, where o is attention's output; then
/// `LN(y + FeedForward(y))`.
struct TransformerLayer: Sendable {
  let index: Int
  private let query: Projection
  private let key: Projection
  private let value: Projection
  private let position: Projection
  private let output: Projection
  /// D, where the residual sum is a multiplicative interaction.
  private let modulation: Projection?
  private let attentionNorm: LayerNorm
  private let feedForward: FeedForward
  private let feedForwardNorm: LayerNorm
  private let dropout: Dropout
  let gradientRange: GradientRange

  init(_ configuration: ModelConfiguration, index: Int, in list: inout ParameterList) {
    self.index = index
    let start = list.elementCount
    let name = "layers.\(index)"
    let width = configuration.width
    func square(_ part: String) -> Projection {
      Projection(name: "\(name).attention.\(part)", inputWidth: width, outputWidth: width, in: &list)
    }
    query = square("query")
    key = square("key")
    value = square("value")
    position = square("position")
    output = square("output")
    modulation = configuration.variant == .txlMI ? square("modulation") : nil
    attentionNorm = LayerNorm(name: "\(name).attention.norm", width: width, in: &list)
    feedForward = FeedForward(
      name: "\(name).feedforward", width: width, innerWidth: configuration.inner, in: &list)
    feedForwardNorm = LayerNorm(name: "\(name).feedforward.norm", width: width, in: &list)
    dropout = Dropout(rate: configuration.hiddenDropout)
    gradientRange = GradientRange(.recurrence, name: name, range: start..<list.elementCount)
  }

  /// The products of all layers but attention's own; keys and values of the memory are not counted.
  var products: [LayerProduct] {
    [query, key, value, output].flatMap(\.products) + (modulation?.products ?? []) + feedForward.products
  }

  /// Activations of a segment, kept for the backward pass.
  struct Activations: Sendable {
    /// q, T·B × d.
    let query: Matrix
    /// k and v, (M + T)·B × d.
    let key: Matrix
    let value: Matrix
    /// r, (M + T) × d.
    let position: Matrix
    /// o, T·B × d.
    let attended: Matrix
    /// o·D, T·B × d; empty without a multiplicative interaction.
    let modulation: Matrix
    /// y, T·B × d.
    let middle: Matrix
    /// The inner rows of the feed-forward block, T·B × inner.
    let inner: Matrix
    let attentionNorm: LayerNorm.Activations
    let feedForwardNorm: LayerNorm.Activations

    init(
      _ layer: TransformerLayer, rowCount: Int, keyCount: Int, laneCount: Int, width: Int, inner: Int,
      in arena: Arena
    ) {
      func rows(_ count: Int) -> Matrix { arena.matrix(rowCount: count, columnCount: width) }
      query = rows(rowCount)
      key = rows(keyCount * laneCount)
      value = rows(keyCount * laneCount)
      position = rows(keyCount)
      attended = rows(rowCount)
      modulation = rows(layer.modulation == nil ? 0 : rowCount)
      middle = rows(rowCount)
      self.inner = arena.matrix(rowCount: rowCount, columnCount: inner)
      attentionNorm = LayerNorm.Activations(layer.attentionNorm, rowCount: rowCount, in: arena)
      feedForwardNorm = LayerNorm.Activations(layer.feedForwardNorm, rowCount: rowCount, in: arena)
    }

    private init(_ all: Activations, rows: Int, keyCount: Int, laneCount: Int) {
      query = all.query.rows(0..<rows)
      key = all.key.rows(0..<keyCount * laneCount)
      value = all.value.rows(0..<keyCount * laneCount)
      position = all.position.rows(0..<keyCount)
      attended = all.attended.rows(0..<rows)
      modulation = all.modulation.rows(0..<min(rows, all.modulation.rowCount))
      middle = all.middle.rows(0..<rows)
      inner = all.inner.rows(0..<rows)
      attentionNorm = all.attentionNorm
      feedForwardNorm = all.feedForwardNorm
    }

    /// The view of the first steps.
    func steps(_ stepCount: Int, laneCount: Int, memory: Int) -> Activations {
      Activations(self, rows: stepCount * laneCount, keyCount: memory + stepCount, laneCount: laneCount)
    }
  }

  /// Scratch memory that all layers share; gradients are empty for scoring.
  struct Scratch: Sendable {
    let attention: RelativeAttention
    let workspace: RelativeAttention.Workspace
    /// T·B × d.
    let sum: Matrix
    let part: Matrix
    /// dL/dy and what is derived from it, T·B × d.
    let gradient: Matrix
    /// T·B × inner.
    let innerGradient: Matrix
    let rows: RelativeAttention.Rows

    /// The view of the first steps, for a forward pass.
    func steps(_ stepCount: Int, laneCount: Int) -> Scratch {
      let rows = 0..<stepCount * laneCount
      return Scratch(
        attention: attention, workspace: workspace, sum: sum.rows(rows), part: part.rows(rows),
        gradient: gradient, innerGradient: innerGradient, rows: self.rows)
    }
  }

  /// Sets the layer's output, T·B × d, from the rows of memory and segment, (M + T)·B × d.
  func forward(
    _ history: Matrix, positions: Matrix, biases: (content: Parameter, position: Parameter), weights: Weights,
    activations: Activations, scratch: Scratch, mask: RelativeAttention.Mask, masks: DropoutMasks?,
    into result: Matrix, engine: ComputeEngine
  ) {
    let input = history.rows(history.rowCount - result.rowCount..<history.rowCount)
    query.forward(input, weights: weights, into: activations.query, engine: engine)
    key.forward(history, weights: weights, into: activations.key, engine: engine)
    value.forward(history, weights: weights, into: activations.value, engine: engine)
    position.forward(positions, weights: weights, into: activations.position, engine: engine)
    scratch.attention.forward(
      rows(activations, biases, in: weights), mask: mask, into: activations.attended,
      workspace: scratch.workspace, engine: engine)

    let sum = scratch.sum
    output.forward(activations.attended, weights: weights, into: sum, engine: engine)
    drop("attention", sum, masks, engine)
    engine.add(input, to: sum)
    if let modulation {
      modulation.forward(activations.attended, weights: weights, into: activations.modulation, engine: engine)
      engine.multiplyElements(activations.modulation, input, into: scratch.part)
      engine.add(scratch.part, to: sum)
    }
    attentionNorm.forward(
      sum, weights: weights, activations: activations.attentionNorm, into: activations.middle, engine: engine)

    feedForward.inner(activations.middle, weights: weights, into: activations.inner, engine: engine)
    drop("inner", activations.inner, masks, engine)
    feedForward.outer(activations.inner, weights: weights, into: sum, engine: engine)
    drop("feed-forward", sum, masks, engine)
    engine.add(activations.middle, to: sum)
    feedForwardNorm.forward(
      sum, weights: weights, activations: activations.feedForwardNorm, into: result, engine: engine)
  }

  /// Replaces the gradient of the layer's output by that of its input, T·B × d; the memory has none.
  func backward(
    _ history: Matrix, gradient: Matrix, positions: Matrix, biases: (content: Parameter, position: Parameter),
    weights: Weights, gradients: ParameterBuffer, activations: Activations, scratch: Scratch,
    mask: RelativeAttention.Mask, masks: DropoutMasks?, engine: ComputeEngine
  ) {
    let middleGradient = scratch.gradient
    feedForwardNorm.backward(
      outputGradient: gradient, weights: weights, gradients: gradients,
      activations: activations.feedForwardNorm, into: middleGradient, scratch: scratch.part, engine: engine)
    scratch.part.copy(from: middleGradient)
    drop("feed-forward", scratch.part, masks, engine)
    feedForward.outerBackward(
      inner: activations.inner, outputGradient: scratch.part, weights: weights, gradients: gradients,
      into: scratch.innerGradient, engine: engine)
    drop("inner", scratch.innerGradient, masks, engine)
    feedForward.innerBackward(
      input: activations.middle, inner: activations.inner, innerGradient: scratch.innerGradient,
      weights: weights, gradients: gradients, addingTo: middleGradient, engine: engine)

    attentionNorm.backward(
      outputGradient: middleGradient, weights: weights, gradients: gradients,
      activations: activations.attentionNorm, into: gradient, scratch: scratch.part, engine: engine)
    attentionBackward(
      history, gradient: gradient, positions: positions, biases: biases, weights: weights,
      gradients: gradients,
      activations: activations, scratch: scratch, mask: mask, masks: masks, engine: engine)
  }

  /// The same from the gradient of the residual sum around attention.
  private func attentionBackward(
    _ history: Matrix, gradient: Matrix, positions: Matrix, biases: (content: Parameter, position: Parameter),
    weights: Weights, gradients: ParameterBuffer, activations: Activations, scratch: Scratch,
    mask: RelativeAttention.Mask, masks: DropoutMasks?, engine: ComputeEngine
  ) {
    let current = history.rowCount - gradient.rowCount..<history.rowCount
    let input = history.rows(current)
    let attendedGradient = scratch.gradient
    scratch.part.copy(from: gradient)
    drop("attention", scratch.part, masks, engine)
    output.backward(
      input: activations.attended, outputGradient: scratch.part, weights: weights, gradients: gradients,
      into: attendedGradient, engine: engine)
    if let modulation {
      engine.multiplyElements(gradient, input, into: scratch.part)
      modulation.backward(
        input: activations.attended, outputGradient: scratch.part, weights: weights, gradients: gradients,
        into: attendedGradient, adding: true, engine: engine)
      engine.multiplyElements(gradient, activations.modulation, into: scratch.part)
      engine.add(scratch.part, to: gradient)
    }

    let rowGradients = RelativeAttention.Rows(
      query: scratch.rows.query, key: scratch.rows.key, value: scratch.rows.value,
      position: scratch.rows.position, contentBias: gradients[biases.content],
      positionBias: gradients[biases.position])
    rowGradients.position.fill(0)
    scratch.attention.backward(
      rows(activations, biases, in: weights), outputGradient: attendedGradient, mask: mask,
      into: rowGradients,
      workspace: scratch.workspace, engine: engine)
    position.addWeightGradient(
      input: positions, outputGradient: rowGradients.position, gradients: gradients, engine: engine)
    query.backward(
      input: input, outputGradient: rowGradients.query, weights: weights, gradients: gradients,
      into: gradient, adding: true, engine: engine)
    for (projection, rows) in [(key, rowGradients.key), (value, rowGradients.value)] {
      projection.addWeightGradient(input: history, outputGradient: rows, gradients: gradients, engine: engine)
      engine.multiply(
        rows.rows(current), weights.right(transposed: projection.weight), into: gradient, adding: true)
    }
  }

  private func rows(
    _ activations: Activations, _ biases: (content: Parameter, position: Parameter), in weights: Weights
  ) -> RelativeAttention.Rows {
    RelativeAttention.Rows(
      query: activations.query, key: activations.key, value: activations.value,
      position: activations.position,
      contentBias: weights[biases.content], positionBias: weights[biases.position])
  }

  private func drop(_ name: String, _ values: Matrix, _ masks: DropoutMasks?, _ engine: ComputeEngine) {
    masks?.apply(dropout, "layers.\(index).\(name)", to: values, engine: engine)
  }
}
