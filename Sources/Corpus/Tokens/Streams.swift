import Platform

/// A text divided into contiguous streams of almost equal length, in which every token is scored exactly once.
///
/// The remainder makes the first streams one token longer, so the streams that have a token at a step are always
/// the first ones. The input of each stream's first token is `<eos>`.
package struct Streams: Equatable, Sendable {
  /// Consecutive steps of all streams.
  package struct Block: Equatable, Sendable {
    /// Its first step, from 0.
    package let firstStep: Int
    package let stepCount: Int
    /// Streams that have a token in its last step; in all other steps, every stream has one.
    package let liveStreamCountInLastStep: Int
    /// Tokens to score: the first rows of the block.
    package let tokenCount: Int
  }

  /// Tokens of the whole text.
  package let tokenCount: Int
  package let streamCount: Int
  /// The input of the first token of a stream.
  package let endOfSentenceID: Int32

  /// Divides a text; throws if there are more streams than tokens.
  package init(tokenCount: Int, streamCount: Int, endOfSentenceID: Int32) throws {
    guard streamCount > 0 else { throw MilmError("expected 1 stream or more, found \(streamCount)") }
    guard tokenCount >= streamCount else {
      throw MilmError("expected a token for each of \(streamCount) streams, found \(tokenCount)")
    }
    self.tokenCount = tokenCount
    self.streamCount = streamCount
    self.endOfSentenceID = endOfSentenceID
  }

  /// The length of the longest stream.
  package var stepCount: Int { (tokenCount + streamCount - 1) / streamCount }

  /// The positions of a stream's tokens in the text.
  package func range(of stream: Int) -> Range<Int> {
    let (shortLength, longCount) = tokenCount.quotientAndRemainder(dividingBy: streamCount)
    let start = stream * shortLength + min(stream, longCount)
    return start..<start + shortLength + (stream < longCount ? 1 : 0)
  }

  /// The `length` steps from `firstStep`, or fewer at the end.
  package func block(firstStep: Int, length: Int) -> Block {
    precondition(firstStep >= 0 && firstStep < stepCount && length > 0, "no block at step \(firstStep)")
    let end = min(stepCount, firstStep + length)
    let live = min(streamCount, tokenCount - (end - 1) * streamCount)
    let count = (end - 1 - firstStep) * streamCount + live
    return Block(
      firstStep: firstStep, stepCount: end - firstStep, liveStreamCountInLastStep: live, tokenCount: count)
  }

  /// Reads a block, time-major: row `t · streamCount + s` is step `t` of stream `s`.
  ///
  /// Only the block's first `tokenCount` rows are written.
  package func read(
    _ block: Block, from tokens: some TokenSequence, inputs: UnsafeMutableBufferPointer<Int32>,
    targets: UnsafeMutableBufferPointer<Int32>
  ) throws {
    precondition(tokens.count == tokenCount, "\(tokens.count) tokens where \(tokenCount) were divided")
    for stream in 0..<streamCount {
      let isLiveAtEnd = stream < block.liveStreamCountInLastStep
      try readStream(
        from: range(of: stream).lowerBound, firstStep: block.firstStep,
        stepCount: block.stepCount - (isLiveAtEnd ? 0 : 1), of: tokens, before: endOfSentenceID,
        inputs: inputs, targets: targets, firstRow: stream, rowStride: streamCount)
    }
  }
}
