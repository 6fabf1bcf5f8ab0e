import Platform

/// A text cut into contiguous streams of near equal length, in which every token is scored exactly once.
///
/// The first streams are one token longer where the text does not divide, so the streams that are still
/// running at a step are always the first ones. The first token of each stream is predicted from `<eos>`.
public struct Streams: Equatable, Sendable {
  /// Some consecutive steps of all streams.
  public struct Block: Equatable, Sendable {
    /// The first of its steps, from 0.
    public let firstStep: Int
    /// How many steps it has.
    public let stepCount: Int
    /// Streams that have a token in its last step; in all steps before, every stream has one.
    public let liveStreamCountInLastStep: Int
    /// Tokens to score, which are the first rows of the block.
    public let tokenCount: Int
  }

  /// Tokens of the whole text.
  public let tokenCount: Int
  /// The number of streams.
  public let streamCount: Int
  /// What the first token of a stream is predicted from.
  public let endOfSentenceID: Int32

  /// Divides a text.
  ///
  /// - Throws: `MilmError` if there is not a token for every stream.
  public init(tokenCount: Int, streamCount: Int, endOfSentenceID: Int32) throws {
    guard streamCount > 0 else { throw MilmError("expected 1 stream or more, found \(streamCount)") }
    guard tokenCount >= streamCount else {
      throw MilmError("expected a token for each of \(streamCount) streams, found \(tokenCount)")
    }
    self.tokenCount = tokenCount
    self.streamCount = streamCount
    self.endOfSentenceID = endOfSentenceID
  }

  /// Steps until the longest stream is at its end.
  public var stepCount: Int { (tokenCount + streamCount - 1) / streamCount }

  /// The tokens of a stream, as positions in the text.
  public func range(of stream: Int) -> Range<Int> {
    let (shortLength, longCount) = tokenCount.quotientAndRemainder(dividingBy: streamCount)
    let start = stream * shortLength + min(stream, longCount)
    return start..<start + shortLength + (stream < longCount ? 1 : 0)
  }

  /// The `length` steps from `firstStep` on, or what is left of them.
  public func block(firstStep: Int, length: Int) -> Block {
    precondition(firstStep >= 0 && firstStep < stepCount && length > 0, "no block at step \(firstStep)")
    let end = min(stepCount, firstStep + length)
    let live = min(streamCount, tokenCount - (end - 1) * streamCount)
    let count = (end - 1 - firstStep) * streamCount + live
    return Block(
      firstStep: firstStep, stepCount: end - firstStep, liveStreamCountInLastStep: live, tokenCount: count)
  }

  /// Reads a block, time-major: row `t · streamCount + s` is step `t` of stream `s`.
  ///
  /// Only the block's first `tokenCount` rows are written; the buffers must have room for them.
  public func read(
    _ block: Block, from tokens: some TokenSequence, inputs: UnsafeMutableBufferPointer<Int32>,
    targets: UnsafeMutableBufferPointer<Int32>
  ) {
    precondition(tokens.count == tokenCount, "\(tokens.count) tokens where \(tokenCount) were divided")
    for stream in 0..<streamCount {
      let isLiveAtEnd = stream < block.liveStreamCountInLastStep
      readStream(
        from: range(of: stream).lowerBound, firstStep: block.firstStep,
        stepCount: block.stepCount - (isLiveAtEnd ? 0 : 1), of: tokens, before: endOfSentenceID,
        inputs: inputs, targets: targets, firstRow: stream, rowStride: streamCount)
    }
  }
}
