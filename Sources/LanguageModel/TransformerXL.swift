import Foundation
import Layers
import Tensors

/// A Transformer with segment memory and relative positions (Dai et al., ACL 2019): the base of its table, or one whose residual
/// sums around attention are multiplicative interactions.
///
/// `x⁰ = √d · P·e`, then the layers; P is the identity where the embedding has the width d. Each layer attends to its input of
/// the M tokens before the segment, whose gradient is cut.
struct TransformerXL: SequenceCore {
  let width: Int
  let memory: Int
  fileprivate let innerWidth: Int
  fileprivate let clamp: Int
  /// From the first to the last.
  fileprivate let layers: [TransformerLayer]
  /// u and w of all layers.
  fileprivate let biases: (content: Parameter, position: Parameter)
  /// P.
  fileprivate let inputProjection: Projection?
  fileprivate let attention: RelativeAttention
  fileprivate let dropout: Dropout
  fileprivate let inputRange: GradientRange

  /// The last layer's tensors come first: its gradient is finished first.
  init(_ configuration: ModelConfiguration, in list: inout ParameterList) {
    width = configuration.width
    memory = configuration.memory
    innerWidth = configuration.inner
    clamp = configuration.clamp
    layers = (0..<configuration.layers).reversed().map {
      TransformerLayer(configuration, index: $0, in: &list)
    }.reversed()
    let start = list.elementCount
    func bias(_ name: String) -> Parameter {
      list.add(
        "attention.\(name)", shape: [configuration.width], initialization: .normal(mean: 0, deviation: 0.02),
        decays: false)
    }
    biases = (bias("contentBias"), bias("positionBias"))
    inputProjection =
      configuration.embedding == configuration.width
      ? nil
      : Projection(
        name: "input.projection", inputWidth: configuration.embedding, outputWidth: configuration.width,
        deviation: 0.01, in: &list)
    attention = RelativeAttention(
      headCount: configuration.heads, headWidth: configuration.width / configuration.heads,
      memory: configuration.memory, dropout: Dropout(rate: configuration.attentionDropout))
    dropout = Dropout(rate: configuration.hiddenDropout)
    inputRange = GradientRange(.recurrence, name: "input", range: start..<list.elementCount)
  }

  var outputWidth: Int { width }

  var gradientRanges: [GradientRange] { layers.reversed().map(\.gradientRange) + [inputRange] }

  var products: [LayerProduct] {
    (inputProjection?.products ?? []) + layers.flatMap(\.products)
      + layers.flatMap { attention.products(name: "layers.\($0.index).attention") }
  }

  func pass(
    stepCount: Int, laneCount: Int, purpose: PassPurpose, engine: ComputeEngine, in arena: Arena
  ) -> any CorePass {
    TransformerPass(
      self, stepCount: stepCount, laneCount: laneCount, purpose: purpose, engine: engine, in: arena)
  }

  /// The sinusoids of the distances from `count` − 1 down to 0, count × d.
  fileprivate func setPositions(_ positions: Matrix) {
    let half = width / 2
    for row in 0..<positions.rowCount {
      let distance = positions.rowCount - 1 - row
      let clamped = Double(clamp > 0 ? min(distance, clamp) : distance)
      for index in 0..<half {
        let angle = clamped * pow(10_000, -2 * Double(index) / Double(width))
        positions[row, index] = Float(sin(angle))
        positions[row, half + index] = Float(cos(angle))
      }
    }
  }
}

/// The values of a segment in a Transformer-XL.
struct TransformerPass: CorePass {
  private let core: TransformerXL
  private let laneCount: Int
  private let stepCount: Int
  private let hasSameLength: Bool
  /// Each layer's input, the memory first, (M + T)·B × d; the last layer's output last, T·B × d.
  private let histories: [Matrix]
  let outputs: Matrix
  /// How many rows of the memory are filled, B × 1.
  private let filled: Matrix
  private let positions: Matrix
  private let droppedPositions: Matrix
  private let activations: [TransformerLayer.Activations]
  private let scratch: TransformerLayer.Scratch
  let carriedState: CarriedState

  init(
    _ core: TransformerXL, stepCount: Int, laneCount: Int, purpose: PassPurpose, engine: ComputeEngine,
    in arena: Arena
  ) {
    self.core = core
    self.laneCount = laneCount
    self.stepCount = stepCount
    hasSameLength = purpose != .training
    let (rowCount, keyCount, width) = (stepCount * laneCount, core.memory + stepCount, core.width)
    func rows(_ count: Int) -> Matrix { arena.matrix(rowCount: count, columnCount: width) }
    histories = core.layers.map { _ in rows(keyCount * laneCount) }
    outputs = rows(rowCount)
    filled = arena.matrix(rowCount: laneCount, columnCount: 1)
    positions = rows(keyCount)
    if !arena.isCounting { core.setPositions(positions) }
    droppedPositions = rows(core.dropout.rate > 0 ? keyCount : 0)
    // Without a backward pass one layer's values are enough.
    let isScoring = purpose == .scoring
    let own = core.layers.prefix(isScoring ? 1 : core.layers.count).map {
      TransformerLayer.Activations(
        $0, rowCount: rowCount, keyCount: keyCount, laneCount: laneCount, width: width,
        inner: core.innerWidth, in: arena)
    }
    activations = core.layers.indices.map { own[isScoring ? 0 : $0] }
    func gradientRows(_ count: Int) -> Matrix { rows(isScoring ? 0 : count) }
    let none = arena.matrix(rowCount: 0, columnCount: width)
    scratch = TransformerLayer.Scratch(
      attention: core.attention,
      workspace: RelativeAttention.Workspace(
        core.attention, stepCount: stepCount, isScoring: isScoring, engine: engine, in: arena),
      sum: rows(rowCount), part: rows(rowCount), gradient: gradientRows(rowCount),
      innerGradient: arena.matrix(rowCount: isScoring ? 0 : rowCount, columnCount: core.innerWidth),
      rows: RelativeAttention.Rows(
        query: gradientRows(rowCount), key: gradientRows(keyCount * laneCount),
        value: gradientRows(keyCount * laneCount), position: gradientRows(keyCount), contentBias: none,
        positionBias: none))

    carriedState = Self.state(of: histories, filled, after: 0, core, laneCount: laneCount)
  }

  /// The memory of all layers before a step, after the last one where it is T; the counts are those before the segment.
  private static func state(
    of histories: [Matrix], _ filled: Matrix, after stepCount: Int, _ core: TransformerXL, laneCount: Int
  ) -> CarriedState {
    let rows = stepCount * laneCount..<(stepCount + core.memory) * laneCount
    let memories = histories.enumerated().filter { _ in core.memory > 0 }.map { index, history in
      CarriedState.Part("layers.\(index).memory", history.rows(rows), slotCount: core.memory)
    }
    return CarriedState(memories + [.init("filled", filled)])
  }

  func carryState(after stepCount: Int) {
    carriedState.copy(
      from: Self.state(of: histories, filled, after: stepCount, core, laneCount: laneCount))
    for lane in 0..<laneCount {
      filled[lane, 0] = min(Float(core.memory), filled[lane, 0] + Float(stepCount))
    }
  }

  func forward(_ input: Matrix, weights: Weights, masks: DropoutMasks?, engine: ComputeEngine) {
    let stepCount = input.rowCount / laneCount
    let first = current(histories[0], stepCount)
    if let projection = core.inputProjection {
      projection.forward(input, weights: weights, into: first, engine: engine)
    } else {
      first.copy(from: input)
    }
    scale(first, engine)
    let positions = positionRows(masks, engine)
    for (index, layer) in core.layers.enumerated() {
      let isLast = index == core.layers.count - 1
      layer.forward(
        histories[index].rows(0..<(core.memory + stepCount) * laneCount),
        // The largest distances are first.
        positions: positions.rows(self.stepCount - stepCount..<positions.rowCount), biases: core.biases,
        weights: weights,
        activations: activations[index].steps(stepCount, laneCount: laneCount, memory: core.memory),
        scratch: scratch.steps(stepCount, laneCount: laneCount), mask: mask(ofLayer: index, masks),
        masks: masks,
        into: isLast ? outputs.rows(0..<input.rowCount) : current(histories[index + 1], stepCount),
        engine: engine)
    }
  }

  func backward(
    _ input: Matrix, outputGradient: Matrix, weights: Weights, gradients: ParameterBuffer,
    into inputGradient: Matrix, masks: DropoutMasks?, engine: ComputeEngine, sink: (any GradientSink)?
  ) throws {
    let positions = positionRows(masks, engine)
    for (index, layer) in core.layers.enumerated().reversed() {
      layer.backward(
        histories[index], gradient: outputGradient, positions: positions, biases: core.biases,
        weights: weights, gradients: gradients, activations: activations[index], scratch: scratch,
        mask: mask(ofLayer: index, masks), masks: masks, engine: engine)
      try sink?.finish(layer.gradientRange)
    }
    scale(outputGradient, engine)
    if let projection = core.inputProjection {
      projection.backward(
        input: input, outputGradient: outputGradient, weights: weights, gradients: gradients,
        into: inputGradient, engine: engine)
    } else {
      inputGradient.copy(from: outputGradient)
    }
    try sink?.finish(core.inputRange)
  }

  /// The positions, some of their elements dropped: the same on all lanes and ranks.
  private func positionRows(_ masks: DropoutMasks?, _ engine: ComputeEngine) -> Matrix {
    guard let masks, core.dropout.rate > 0 else { return positions }
    droppedPositions.copy(from: positions)
    core.dropout.apply(
      to: droppedPositions, laneCount: 1, firstLane: 0, firstTime: masks.firstTime,
      key: masks.key.derived("positions"), engine: engine)
    return droppedPositions
  }

  private func mask(ofLayer index: Int, _ masks: DropoutMasks?) -> RelativeAttention.Mask {
    RelativeAttention.Mask(
      filled: filled, hasSameLength: hasSameLength,
      dropout: masks.map {
        ($0.key.derived("layers.\(index).probabilities"), $0.firstLane, $0.firstTime)
      })
  }

  /// The segment's rows of a layer's input.
  private func current(_ history: Matrix, _ stepCount: Int) -> Matrix {
    history.rows(core.memory * laneCount..<(core.memory + stepCount) * laneCount)
  }

  private func scale(_ values: Matrix, _ engine: ComputeEngine) {
    let factor = Float(core.width).squareRoot()
    engine.forEachRowPart(of: values) { rows in
      for row in rows {
        for column in 0..<values.columnCount { values[row, column] *= factor }
      }
    }
  }
}
