import Communication
import Corpus
import LanguageModel
import Layers
import Tensors

/// A step's gradient: computed segment by segment, and handed to the exchange as it is finished.
extension Replica {
  /// Begins a step whose gradient the exchange makes the mean over all ranks.
  package func beginStep(
    _ gradients: ParameterBuffer, flushing: Bool, limits: StallLimits? = nil, isTraced: Bool = false
  ) {
    gradients.clear(shard, engine: engine)
    exchange.isTraced = isTraced
    exchange.begin(step: state.step, flushing: flushing, gradient: common(gradients), limits: limits)
    sharing?.begin(step: state.step, limits: limits, isTraced: isTraced)
  }

  /// Begins a step whose gradient stays on this rank.
  package func beginLocalStep(_ gradients: ParameterBuffer) {
    gradients.clear(shard, engine: engine)
    sharing?.begin(step: state.step, limits: nil, isTraced: false)
  }

  /// Seconds of the step so far that were spent on rows of other ranks' words.
  package var exposedSharingSeconds: Double { sharing?.cost.exposedSeconds ?? 0 }

  /// Forward and backward through the segments of the step under way; `sink` receives the gradient on the way.
  ///
  /// Returns the sum of the losses in nats. A rank without lanes contributes zeros, range after range in the same order.
  package func accumulateSegments(
    of data: TrainingData, into gradients: ParameterBuffer, sink: (any GradientSink)?
  ) throws -> Double {
    guard !data.ownLanes.isEmpty else {
      for range in model.gradientRanges { try sink?.finish(range) }
      try sink?.finish(rows: gradients[model.tiedMatrix].rows(0..<0), of: data.inputs)
      return 0
    }
    let training = configuration.training
    let key = RandomKey(seed: UInt64(training.seed)).derived("dropout").derived(state.step)
    let lossScale = share.gradientWeight / Float(data.inputs.count * training.accumulate)
    var loss = 0.0
    for index in 0..<training.accumulate {
      let segmentIndex = state.segmentIndex + index
      if data.lanes.isEpochStart(segmentIndex) { pass.carriedState.reset() }
      let segment = data.segment(segmentIndex, firstTime: index * training.segment, key: key)
      sharing?.read(segmentIndex, of: data)
      loss += try pass.accumulate(
        segment, index: index, lossScale: lossScale, gradients: gradients, sink: sink)
    }
    return loss
  }

  /// The sink that submits a step's gradient to the exchange.
  package func exchangeSink(_ gradients: ParameterBuffer) -> any GradientSink {
    ExchangeSink(self, gradients)
  }

  /// Waits for what was submitted, and says what the step's exchange has cost.
  package func finishExchange() throws -> ExchangeReport {
    var report = try exchange.finish()
    if let sharing { report.add(apart: sharing.cost) }
    return report
  }

  /// What all ranks have alike of a flat buffer.
  package func common(_ buffer: ParameterBuffer) -> UnsafeMutablePointer<Float> {
    buffer.flat.data + shard.common.lowerBound
  }
}

/// Submits the gradient to the exchange as it is finished; that of vocabulary rows that are sharded goes to their owners.
final class ExchangeSink: GradientSink {
  private let replica: Replica
  private let gradients: ParameterBuffer

  fileprivate init(_ replica: Replica, _ gradients: ParameterBuffer) {
    self.replica = replica
    self.gradients = gradients
  }

  func finish(_ range: GradientRange) throws {
    let common = replica.shard.common
    guard common.contains(range.range.lowerBound) else { return }
    try replica.exchange.submit(
      range: range.range.lowerBound - common.lowerBound..<range.range.upperBound - common.lowerBound)
  }

  func finish(rows: Matrix, of tokens: Vector<Int32>) throws {
    let tied = replica.model.tiedMatrix
    if replica.shard.isCommon(tied) {
      try replica.exchange.submitRows(ids: UnsafeBufferPointer(tokens.buffer), rows: rows.data)
    } else {
      try replica.sharing?.returnRows(tokens, rows, addingTo: gradients[tied])
    }
  }
}
