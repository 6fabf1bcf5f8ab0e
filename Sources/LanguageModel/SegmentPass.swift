import Layers
import Tensors

/// The tokens of a segment in the lanes of one rank, its place in the data, and the key of its random numbers.
package struct Segment: Sendable {
  /// The tokens read, T·B, time-major.
  package let inputs: Vector<Int32>
  /// The tokens to be predicted, T·B, time-major.
  package let targets: Vector<Int32>
  /// The global number of this rank's first lane.
  package let firstLane: Int
  /// The time of the first row within its step: `accumulate` segments make one step.
  package let firstTime: Int
  /// The step's stream of random numbers.
  package let key: RandomKey

  /// A segment of tokens at a place in the data.
  package init(inputs: Vector<Int32>, targets: Vector<Int32>, firstLane: Int, firstTime: Int, key: RandomKey)
  {
    self.inputs = inputs
    self.targets = targets
    self.firstLane = firstLane
    self.firstTime = firstTime
    self.key = key
  }
}

/// Memory for segments of one size, and the passes forward and backward through it;
/// the model's state is carried in it.
package final class SegmentPass: Sendable {
  /// T.
  package let stepCount: Int
  /// B.
  package let laneCount: Int
  /// The number of segments that a step accumulates.
  package let accumulation: Int
  let model: LanguageModel
  let engine: ComputeEngine
  let arena: Arena
  let embedded: Matrix
  let output: Matrix
  let softmax: SoftmaxWorkspace
  let weights: Weights
  private let core: any CorePass
  let decoder: Decoder.Activations?
  private let vocabulary: any VocabularyShards
  private let outputGradient: Matrix
  private let coreGradient: Matrix
  private let inputGradients: Matrix
  private let inputTokens: Vector<Int32>
  private let rowGradient: EmbeddingRowGradient?

  /// The default budget for logits: 144 MiB, 256 rows of WikiText-103's vocabulary in bfloat16.
  package static let defaultLogitsByteBudget = 144 << 20

  /// Memory for segments of T steps and B lanes, `accumulation` of which make a step;
  /// 0 where there is no backward pass.
  ///
  /// The products of a pass read `parameters` as they were at the last `refreshWeights`, packed in `weights` (default: by
  /// the pass itself). `vocabulary` has the shard of the tied matrix on this rank, and its collectives (default: all rows).
  /// `purpose` is training or scoring by default.
  package init(
    _ model: LanguageModel, parameters: ParameterBuffer, stepCount: Int, laneCount: Int, accumulation: Int,
    engine: ComputeEngine, logitsByteBudget: Int = defaultLogitsByteBudget, softmaxThreshold: Float = 0,
    vocabulary: (any VocabularyShards)? = nil, weights: Weights? = nil, purpose: PassPurpose? = nil,
    in arena: Arena = Arena()
  ) {
    self.arena = arena
    let vocabulary = vocabulary ?? WholeVocabulary(vocabularySize: model.vocabularySize)
    self.model = model
    self.engine = engine
    self.stepCount = stepCount
    self.laneCount = laneCount
    self.accumulation = accumulation
    self.vocabulary = vocabulary
    self.weights = weights ?? Weights(parameters, engine: engine)
    let rowCount = stepCount * laneCount
    let width = model.configuration.embedding
    embedded = arena.matrix(rowCount: rowCount, columnCount: width)
    output = arena.matrix(rowCount: rowCount, columnCount: width)
    softmax = SoftmaxWorkspace(
      shard: vocabulary.shard, width: width, rowCount: vocabulary.shard.count * rowCount,
      byteBudget: logitsByteBudget, threshold: softmaxThreshold, scoringOnly: accumulation == 0,
      deferring: vocabulary.defersMatrixGradient, engine: engine, in: arena)
    core = model.core.pass(
      stepCount: stepCount, laneCount: laneCount,
      purpose: purpose ?? (accumulation == 0 ? .scoring : .training), engine: engine, in: arena)
    decoder = model.decoder.activations(rowCount: rowCount, in: arena)
    let backwardRows = accumulation > 0 ? rowCount : 0
    outputGradient = arena.matrix(rowCount: backwardRows, columnCount: width)
    coreGradient = arena.matrix(rowCount: backwardRows, columnCount: model.core.outputWidth)
    inputGradients = arena.matrix(rowCount: accumulation * rowCount, columnCount: width)
    inputTokens = arena.vector(of: Int32.self, count: accumulation * rowCount)
    rowGradient =
      accumulation > 0
      ? EmbeddingRowGradient(
        vocabularySize: model.vocabularySize, width: width, capacity: accumulation * rowCount, in: arena)
      : nil
  }

  /// The bytes of the weights as products read them, after the first backward pass: the tied matrix rounded, all others packed
  /// in both directions.
  package var packedByteCount: Int {
    let tied = model.tiedMatrix
    let others = model.parameters.parameters.filter { $0.shape.count > 1 && $0.offset != tied.offset }
    let rounded = engine.precision == .float32 ? 0 : tied.count * engine.precision.byteCount
    return others.reduce(rounded) { $0 + weights.packedByteCount($1) }
  }

  /// The bytes of the weights packed so far.
  package var allocatedPackedByteCount: Int { weights.byteCount }

  /// Reads the parameters' current values for the passes that follow; called whenever they have changed.
  package func refreshWeights() { weights.refresh() }

  /// The state of this rank's lanes before the next segment.
  package var carriedState: CarriedState { core.carriedState }

  /// Makes the state after the last step, or after the first `stepCount` ones, that before the next segment.
  func carryState(after stepCount: Int? = nil) { core.carryState(after: stepCount ?? self.stepCount) }

  /// From the tokens to z, without dropout; for scoring and sampling.
  ///
  /// The tokens may be those of the segment's first steps alone; z then has as many rows.
  func forward(_ inputs: Vector<Int32>) {
    let rows = 0..<inputs.count
    model.embedding.forward(inputs, weights: weights, into: embedded.rows(rows))
    forwardFromEmbedded(rows, masks: nil)
  }

  private func forwardFromEmbedded(_ rows: Range<Int>, masks: DropoutMasks?) {
    core.forward(embedded.rows(rows), weights: weights, masks: masks, engine: engine)
    model.decoder.forward(
      core.outputs.rows(rows), weights: weights, activations: decoder?.rows(rows), into: output.rows(rows),
      engine: engine)
  }

  /// Forward, loss and backward of segment `index` of a step;
  /// returns the sum of the losses in nats over its T·B tokens.
  ///
  /// Gradients of `lossScale · Σ loss` are added to `gradients`. The first segment of a step refreshes the weights.
  /// During the last segment of a step `sink` receives each part of the gradient as it is complete: the softmax's range by
  /// range and before back-propagation through time, or after it where it is deferred; the input rows last.
  package func accumulate(
    _ segment: Segment, index: Int, lossScale: Float, gradients: ParameterBuffer, sink: (any GradientSink)?
  ) throws -> Double {
    precondition(index < accumulation, "segment \(index) of \(accumulation) per step")
    if index == 0 { refreshWeights() }
    let sink = index == accumulation - 1 ? sink : nil
    try vocabulary.fetchRows(into: weights[model.tiedMatrix])
    forward(segment)
    let (loss, deferred) = try model.softmax.forwardBackward(
      SoftmaxRows(output: output, targets: segment.targets, gradient: outputGradient), scale: lossScale,
      weights: weights, gradients: gradients, workspace: softmax, vocabulary: vocabulary, sink: sink)
    try backward(segment, index: index, gradients: gradients, sink: sink)
    try deferred?.add(sink: sink)
    if let sink { try finishRows(sink) }
    return loss
  }

  private func forward(_ segment: Segment) {
    let masks = masks(segment)
    model.embedding.forward(segment.inputs, weights: weights, into: embedded)
    masks.apply(model.inputDropout, "input dropout", to: embedded, engine: engine)
    forwardFromEmbedded(0..<embedded.rowCount, masks: masks)
    masks.apply(model.outputDropout, "output dropout", to: output, engine: engine)
  }

  /// From dL/dz back to the tokens that were read; the state is carried on.
  private func backward(
    _ segment: Segment, index: Int, gradients: ParameterBuffer, sink: (any GradientSink)?
  ) throws {
    let masks = masks(segment)
    masks.apply(model.outputDropout, "output dropout", to: outputGradient, engine: engine)
    model.decoder.backward(
      core.outputs, outputGradient: outputGradient, weights: weights, gradients: gradients,
      activations: decoder, into: coreGradient, engine: engine)
    if let range = model.decoderRange { try sink?.finish(range) }

    let places = index * segment.inputs.count..<(index + 1) * segment.inputs.count
    let inputGradient = inputGradients.rows(places)
    try core.backward(
      embedded, outputGradient: coreGradient, weights: weights, gradients: gradients, into: inputGradient,
      masks: masks, engine: engine, sink: sink)

    masks.apply(model.inputDropout, "input dropout", to: inputGradient, engine: engine)
    inputTokens[places].data.update(from: segment.inputs.data, count: places.count)
    carryState()
  }

  /// The gradients of all rows of the tied matrix that the step has read.
  private func finishRows(_ sink: any GradientSink) throws {
    guard let rowGradient else { preconditionFailure("a pass with a backward pass") }
    let (tokens, rows) = rowGradient.collect(inputTokens, gradient: inputGradients)
    try sink.finish(rows: rows, of: tokens)
  }

  private func masks(_ segment: Segment) -> DropoutMasks {
    DropoutMasks(
      laneCount: laneCount, firstLane: segment.firstLane, firstTime: segment.firstTime, key: segment.key)
  }
}
