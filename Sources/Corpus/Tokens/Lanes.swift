import Platform

/// The positions of the lanes and segments of a training text; stateless, so any segment can be read.
///
/// A lane is a contiguous stream of `laneLength` tokens; the lanes follow each other from the start of the text.
/// Every token of a lane is a target once per epoch, and its input is the preceding token, `<eos>` for the first
/// of the lane. The remainder of the text that does not fill a lane, and of each lane that does not fill a
/// segment, is dropped.
package struct Lanes: Equatable, Sendable {
  /// Tokens of the whole text.
  package let tokenCount: Int
  /// Lanes of the whole run, over all ranks.
  package let laneCount: Int
  /// Steps in a segment, *T*.
  package let segmentLength: Int
  /// The input of the first token of a lane.
  package let endOfSentenceID: Int32

  /// Divides a text; throws if it is too short for one segment per lane.
  package init(tokenCount: Int, laneCount: Int, segmentLength: Int, endOfSentenceID: Int32) throws {
    guard laneCount > 0 && segmentLength > 0 else {
      throw MilmError(
        "expected 1 lane and 1 step or more, found \(laneCount) lanes of \(segmentLength) steps")
    }
    let (needed, overflow) = laneCount.multipliedReportingOverflow(by: segmentLength)
    guard !overflow && tokenCount >= needed else {
      throw MilmError(
        "expected \(overflow ? "far more" : "\(needed)") tokens or more, a segment of \(segmentLength) "
          + "for each of \(laneCount) lanes; found \(tokenCount)")
    }
    self.tokenCount = tokenCount
    self.laneCount = laneCount
    self.segmentLength = segmentLength
    self.endOfSentenceID = endOfSentenceID
  }

  /// Tokens per lane, including those after its last whole segment.
  package var laneLength: Int { tokenCount / laneCount }

  /// Tokens at the end of the text that belong to no lane.
  package var droppedTokenCount: Int { tokenCount - laneCount * laneLength }

  /// Segments per lane and epoch; the tokens of a lane that do not fill one are dropped.
  package var segmentsPerEpoch: Int { laneLength / segmentLength }

  /// Tokens at the ends of all lanes that fill no segment.
  package var droppedTailTokenCount: Int { laneCount * (laneLength - segmentsPerEpoch * segmentLength) }

  /// The epoch of a segment and its index in the epoch; segments are numbered from 0 over the whole run.
  package func position(_ segmentIndex: Int) -> (epoch: Int, segmentInEpoch: Int) {
    (segmentIndex / segmentsPerEpoch, segmentIndex % segmentsPerEpoch)
  }

  /// Whether a segment is the first of an epoch, which starts with zero state.
  package func isEpochStart(_ segmentIndex: Int) -> Bool { segmentIndex % segmentsPerEpoch == 0 }

  /// Reads one segment of some lanes, time-major: row `t · lanes.count + b` is step `t` of the `b`-th lane.
  ///
  /// - Parameters:
  ///   - lanes: the lanes of this rank.
  ///   - tokens: the text.
  ///   - inputs, targets: at least `segmentLength · lanes.count` ids each.
  package func read(
    segmentIndex: Int, lanes: Range<Int>, from tokens: some TokenSequence,
    inputs: UnsafeMutableBufferPointer<Int32>, targets: UnsafeMutableBufferPointer<Int32>
  ) throws {
    precondition(lanes.lowerBound >= 0 && lanes.upperBound <= laneCount, "lanes \(lanes) of \(laneCount)")
    precondition(tokens.count == tokenCount, "\(tokens.count) tokens where \(tokenCount) were divided")
    let firstStep = position(segmentIndex).segmentInEpoch * segmentLength
    for (row, lane) in lanes.enumerated() {
      try readStream(
        from: lane * laneLength, firstStep: firstStep, stepCount: segmentLength, of: tokens,
        before: endOfSentenceID, inputs: inputs, targets: targets, firstRow: row, rowStride: lanes.count)
    }
  }
}

/// Reads consecutive tokens of a stream as targets, and the preceding tokens as inputs, into every
/// `rowStride`-th row.
///
/// - Parameters:
///   - start: the position of the stream's first token.
///   - before: the input of the stream's first token.
package func readStream(
  from start: Int, firstStep: Int, stepCount: Int, of tokens: some TokenSequence, before: Int32,
  inputs: UnsafeMutableBufferPointer<Int32>, targets: UnsafeMutableBufferPointer<Int32>, firstRow: Int,
  rowStride: Int
) throws {
  guard stepCount > 0 else { return }
  try withUnsafeTemporaryAllocation(of: Int32.self, capacity: stepCount + 1) { ids in
    let first = start + firstStep
    if firstStep == 0 {
      ids[0] = before
      try tokens.copy(first..<first + stepCount, into: UnsafeMutableBufferPointer(rebasing: ids[1...]))
    } else {
      try tokens.copy(first - 1..<first + stepCount, into: ids)
    }
    for step in 0..<stepCount {
      inputs[firstRow + step * rowStride] = ids[step]
      targets[firstRow + step * rowStride] = ids[step + 1]
    }
  }
}
