import Communication
import Corpus
import LanguageModel
import Layers
import Tensors

extension Replica {
  /// Forward and backward through the segments of the step under way;
  /// `finished` gets parts of the gradient on the way.
  ///
  /// Returns the sum of the losses in nats. A rank without lanes gives zeros, part after part in the order of the others.
  func accumulateSegments(
    of data: TrainingData, into gradients: ParameterBuffer, finished: (GradientPart) throws -> Void
  ) rethrows -> Double {
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
      loss += try pass.accumulate(
        segment, index: index, lossScale: lossScale, gradients: gradients, finished: finished)
    }
    return loss
  }
}

extension GradientExchange {
  /// Hands a finished part of the gradient over.
  func submit(_ part: GradientPart) throws {
    switch part {
    case .dense(let range): try submit(range: range.range)
    case .rows(let words, let rows):
      try submitRows(ids: UnsafeBufferPointer(words.buffer), rows: rows.data)
    }
  }
}
