/// The memory a gradient exchange works in, sized once by the largest part and the most rows.
///
/// Frames lie in slots, one a rank.
final class ExchangeWorkspace: Sendable {
  let coder: FrameCoder
  /// The sum of a part, then its mean.
  let sum: FloatBuffer
  /// What one frame decodes to.
  let decoded: FloatBuffer
  private let outgoing: AlignedBuffer
  private let incoming: AlignedBuffer
  private let slotByteCount: Int

  init(maximumPartCount: Int, maximumRowElementCount: Int, rankCount: Int) {
    coder = FrameCoder(maximumElementCount: max(maximumPartCount, maximumRowElementCount))
    sum = FloatBuffer(count: maximumPartCount)
    decoded = FloatBuffer(count: max(maximumPartCount, maximumRowElementCount))
    slotByteCount = (FrameCoder.frameCapacity(elementCount: maximumPartCount) + 63) & ~63
    outgoing = AlignedBuffer(byteCount: slotByteCount * rankCount)
    incoming = AlignedBuffer(byteCount: slotByteCount * rankCount)
  }

  /// Room for a frame to `rank`.
  func outgoingSlot(_ rank: Int) -> UnsafeMutableRawBufferPointer {
    outgoing.slice(from: rank * slotByteCount, byteCount: slotByteCount)
  }

  /// Room for a frame from `rank`.
  func incomingSlot(_ rank: Int) -> UnsafeMutableRawBufferPointer {
    incoming.slice(from: rank * slotByteCount, byteCount: slotByteCount)
  }
}
