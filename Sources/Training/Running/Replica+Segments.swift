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

  /// Forward and backward through the segments of the step under way;
  /// `finished` gets parts of the gradient on the way.
  ///
  /// Returns the sum of the losses in nats. A rank without lanes gives zeros, part after part in the order of the others.
  package func accumulateSegments(
    of data: TrainingData, into gradients: ParameterBuffer, finished: (GradientPart) throws -> Void
  ) throws -> Double {
    guard !data.ownLanes.isEmpty else {
      for range in model.gradientRanges { try finished(.dense(range)) }
      try finished(.rows(words: data.inputs, rows: gradients[model.tiedMatrix].rows(0..<0)))
      return 0
    }
    let training = configuration.training
    let key = RandomKey(seed: UInt64(training.seed)).derived("dropout").derived(state.step)
    let lossScale = share.gradientWeight / Float(data.inputs.count * training.accumulate)
    var loss = 0.0
    for index in 0..<training.accumulate {
      let segmentIndex = state.segmentIndex + index
      if data.lanes.isEpochStart(segmentIndex) { pass.resetState() }
      let segment = data.segment(segmentIndex, firstTime: index * training.segment, key: key)
      if let sharing {
        sharing.read(segmentIndex, of: data)
        loss += try pass.accumulate(
          segment, index: index, lossScale: lossScale, gradients: gradients, sharing: sharing,
          finished: finished)
      } else {
        loss += try pass.accumulate(
          segment, index: index, lossScale: lossScale, gradients: gradients, finished: finished)
      }
    }
    return loss
  }

  /// Hands a finished part of the gradient over; what belongs to words that are dealt out stays where it is.
  package func submit(_ part: GradientPart, of gradients: ParameterBuffer) throws {
    switch part {
    case .dense(let range):
      guard shard.common.contains(range.range.lowerBound) else { return }
      let first = shard.common.lowerBound
      try exchange.submit(range: range.range.lowerBound - first..<range.range.upperBound - first)
    case .rows(let words, let rows):
      if shard.isCommon(model.tiedMatrix) {
        try exchange.submitRows(ids: UnsafeBufferPointer(words.buffer), rows: rows.data)
      } else {
        try sharing?.returnRows(words, rows, addingTo: gradients[model.tiedMatrix])
      }
    }
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
