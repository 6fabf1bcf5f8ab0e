import Layers
import Tensors

/// One rank's share of a segment: its words, where it lies, and the key of its random numbers.
public struct Segment: Sendable {
  /// The words read, T·B, time-major.
  public let inputs: Vector<Int32>
  /// The words to be predicted, T·B, time-major.
  public let targets: Vector<Int32>
  /// The global number of this rank's first lane.
  public let firstLane: Int
  /// The time of the first row within its step: `accumulate` segments make one step.
  public let firstTime: Int
  /// The step's stream of random numbers.
  public let key: RandomKey

  /// A segment of words at a place.
  public init(inputs: Vector<Int32>, targets: Vector<Int32>, firstLane: Int, firstTime: Int, key: RandomKey) {
    self.inputs = inputs
    self.targets = targets
    self.firstLane = firstLane
    self.firstTime = firstTime
    self.key = key
  }
}

/// What is finished of the gradient, in the order in which it is finished.
public enum GradientPart: Sendable {
  /// A range of the flat gradient.
  case dense(GradientRange)
  /// The input side of the tied matrix: distinct words, ascending, and a row for each.
  case rows(words: Vector<Int32>, rows: Matrix)
}

/// Memory for segments of one size, and the passes forward and backward through it;
/// the LSTM's state is carried in it.
public final class SegmentPass: Sendable {
  /// T.
  public let stepCount: Int
  /// B.
  public let laneCount: Int
  /// How many segments one step accumulates.
  public let accumulation: Int
  let model: LanguageModel
  let engine: ComputeEngine
  let arena = Arena()
  let embedded: Matrix
  let output: Matrix
  let softmax: SoftmaxWorkspace
  private let softmaxThreshold: Float
  let weights: Weights
  let recurrence: Recurrence.Activations
  let decoder: Decoder.Activations?
  private let outputGradient: Matrix
  /// dL/dz of the rows of all ranks that share the words out; `outputGradient` itself where there is no other.
  private let sharedOutputGradient: Matrix
  private let hiddenGradient: Matrix
  private let inputGradients: Matrix
  private let inputWords: Vector<Int32>
  private let rowGradient: EmbeddingRowGradient?

  /// The logits' budget when nothing else is said: 144 MiB, 256 rows of WikiText-103's vocabulary in bfloat16.
  public static let defaultLogitsByteBudget = 144 << 20

  /// Memory for segments of T steps and B lanes, `accumulation` of which make a step;
  /// 0 when there is no backward pass.
  ///
  /// The products of a pass read `parameters` as they were at the last `refreshWeights`. `words` are those of this rank
  /// where others have the rest; they all have as many lanes.
  public init(
    _ model: LanguageModel, parameters: ParameterBuffer, stepCount: Int, laneCount: Int, accumulation: Int,
    engine: ComputeEngine,
    logitsByteBudget: Int = defaultLogitsByteBudget, softmaxThreshold: Float = 0, words: RowShard? = nil
  ) {
    let isShared = words != nil
    let words = words ?? model.words(index: 0, count: 1)
    self.model = model
    self.engine = engine
    self.stepCount = stepCount
    self.laneCount = laneCount
    self.accumulation = accumulation
    self.softmaxThreshold = softmaxThreshold
    weights = Weights(parameters, engine: engine)
    let rowCount = stepCount * laneCount
    let width = model.configuration.embedding
    embedded = arena.matrix(rowCount: rowCount, columnCount: width)
    output = arena.matrix(rowCount: rowCount, columnCount: width)
    softmax = SoftmaxWorkspace(
      words: words, width: width, rowCount: words.count * rowCount, byteBudget: logitsByteBudget,
      scoringOnly: accumulation == 0, deferring: isShared, engine: engine, in: arena)
    recurrence = model.recurrence.activations(stepCount: stepCount, laneCount: laneCount, in: arena)
    decoder = model.decoder.activations(rowCount: rowCount, in: arena)
    let backwardRows = accumulation > 0 ? rowCount : 0
    outputGradient = arena.matrix(rowCount: backwardRows, columnCount: width)
    sharedOutputGradient =
      words.count == 1
      ? outputGradient : arena.matrix(rowCount: words.count * backwardRows, columnCount: width)
    hiddenGradient = arena.matrix(rowCount: backwardRows, columnCount: model.configuration.hidden)
    inputGradients = arena.matrix(rowCount: accumulation * rowCount, columnCount: width)
    inputWords = arena.vector(of: Int32.self, count: accumulation * rowCount)
    rowGradient =
      accumulation > 0
      ? EmbeddingRowGradient(
        vocabularySize: model.vocabularySize, width: width, capacity: accumulation * rowCount) : nil
  }

  /// h of this rank's lanes before the next segment, B × H.
  public var hiddenState: Matrix { recurrence.lstm.hiddenBefore(0) }

  /// c of this rank's lanes before the next segment, B × H.
  public var cellState: Matrix { recurrence.lstm.cell.rows(0..<laneCount) }

  /// Makes the state zero, as at the start of an epoch or a text.
  public func resetState() {
    hiddenState.fill(0)
    cellState.fill(0)
  }

  /// Takes the parameters' values of now for the passes to come: due whenever they have changed.
  public func refreshWeights() { weights.refresh() }

  /// Makes the state after the last step the one before the next segment.
  func carryState() {
    let last = stepCount * laneCount..<(stepCount + 1) * laneCount
    hiddenState.copy(from: recurrence.lstm.hidden.rows(last))
    cellState.copy(from: recurrence.lstm.cell.rows(last))
  }

  /// From the words to z, without dropout; for scoring and sampling.
  func forward(_ inputs: Vector<Int32>) {
    model.embedding.forward(inputs, weights: weights, into: embedded)
    forwardFromEmbedded()
  }

  private func forwardFromEmbedded() {
    model.recurrence.forward(embedded, weights: weights, activations: recurrence, engine: engine)
    model.decoder.forward(
      recurrence.lstm.outputs, weights: weights, activations: decoder, into: output, engine: engine)
  }

  /// Forward, loss and backward of segment `index` of a step;
  /// returns the sum of the losses in nats over its T·B words.
  ///
  /// Gradients of `lossScale · Σ loss` are added to `gradients`. The first segment of a step refreshes the weights.
  /// During the last segment of a step `finished` is called for each part of the gradient as it is complete:
  /// the softmax's first, piece by piece and before back-propagation through time, the input rows last.
  public func accumulate<Failure: Error>(
    _ segment: Segment, index: Int, lossScale: Float, gradients: ParameterBuffer,
    finished: (GradientPart) throws(Failure) -> Void
  ) throws(Failure) -> Double {
    let isLast = begin(index)
    forward(segment)
    let loss: Double = try model.softmax.forwardBackward(
      output, targets: segment.targets, scale: lossScale, threshold: softmaxThreshold, weights: weights,
      gradients: gradients, into: outputGradient, workspace: softmax, engine: engine
    ) { (piece) throws(Failure) in
      if isLast { try finished(.dense(model.tiedRanges[piece])) }
    }
    if isLast { try finished(.dense(model.biasRange)) }
    try backward(segment, index: index, gradients: gradients, finished: finished)
    if isLast { try finished(collectedRows()) }
    return loss
  }

  /// The same where ranks share the words out: the gradients of tied matrix and bias are those of this rank's words, as
  /// means over all ranks already, and are finished last, but for the rows of words that were read.
  public func accumulate<Sharing: WordSharing>(
    _ segment: Segment, index: Int, lossScale: Float, gradients: ParameterBuffer, sharing: Sharing,
    finished: (GradientPart) throws(Sharing.Failure) -> Void
  ) throws(Sharing.Failure) -> Double {
    let isLast = begin(index)
    try sharing.fetchRows(into: weights[model.tiedMatrix])
    forward(segment)
    let shared = try sharing.gather(output)
    let (loss, deferred) = try model.softmax.forwardBackward(
      sharing: shared.output, targets: shared.targets, ownRows: shared.ownRows,
      scale: lossScale / Float(sharing.meanRankCount), threshold: softmaxThreshold, weights: weights,
      gradients: gradients, into: sharedOutputGradient, workspace: softmax, engine: engine,
      combine: sharing.combine)
    try sharing.scatter(sharedOutputGradient, into: outputGradient)
    try backward(segment, index: index, gradients: gradients, finished: finished)
    model.softmax.addDeferred(deferred, gradients: gradients, workspace: softmax, engine: engine)
    if isLast {
      for range in model.tiedRanges + [model.biasRange] { try finished(.dense(range)) }
      try finished(collectedRows())
    }
    return loss
  }

  /// Whether the segment is a step's last.
  private func begin(_ index: Int) -> Bool {
    precondition(index < accumulation, "segment \(index) of \(accumulation) a step")
    if index == 0 { refreshWeights() }
    return index == accumulation - 1
  }

  private func forward(_ segment: Segment) {
    model.embedding.forward(segment.inputs, weights: weights, into: embedded)
    dropInput(embedded, segment)
    forwardFromEmbedded()
    dropOutput(output, segment)
  }

  /// From dL/dz back to the words that were read; the state is carried on.
  private func backward<Failure: Error>(
    _ segment: Segment, index: Int, gradients: ParameterBuffer,
    finished: (GradientPart) throws(Failure) -> Void
  ) throws(Failure) {
    let isLast = index == accumulation - 1
    dropOutput(outputGradient, segment)
    model.decoder.backward(
      recurrence.lstm.outputs, outputGradient: outputGradient, weights: weights, gradients: gradients,
      activations: decoder, into: hiddenGradient, engine: engine)
    if isLast { try finished(.dense(model.decoderRange)) }

    let places = index * segment.inputs.count..<(index + 1) * segment.inputs.count
    let inputGradient = inputGradients.rows(places)
    try model.recurrence.backward(
      embedded, hiddenGradient: hiddenGradient, weights: weights, gradients: gradients,
      activations: recurrence, into: inputGradient, engine: engine
    ) { (range) throws(Failure) in
      if isLast { try finished(.dense(range)) }
    }

    dropInput(inputGradient, segment)
    inputWords[places].data.update(from: segment.inputs.data, count: places.count)
    carryState()
  }

  /// The gradients of all rows of the tied matrix that a step has read.
  private func collectedRows() -> GradientPart {
    guard let rowGradient else { preconditionFailure("a pass without a backward half") }
    let collected = rowGradient.collect(inputWords, gradient: inputGradients)
    return .rows(words: collected.words, rows: collected.rows)
  }

  private func dropInput(_ values: Matrix, _ segment: Segment) {
    model.inputDropout.apply(
      to: values, laneCount: laneCount, firstLane: segment.firstLane, firstTime: segment.firstTime,
      key: segment.key.derived("input dropout"), engine: engine)
  }

  private func dropOutput(_ values: Matrix, _ segment: Segment) {
    model.outputDropout.apply(
      to: values, laneCount: laneCount, firstLane: segment.firstLane, firstTime: segment.firstTime,
      key: segment.key.derived("output dropout"), engine: engine)
  }
}
