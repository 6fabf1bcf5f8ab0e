/// The memory a gradient exchange works in, sized once by the largest part and the most rows.
///
/// Frames lie in slots, one a node.
final class ExchangeWorkspace: Sendable {
  let coder: FrameCoder
  /// The sum of a part, then its mean.
  let sum: FloatBuffer
  /// What one frame decodes to.
  let decoded: FloatBuffer
  private let outgoing: AlignedBuffer
  private let incoming: AlignedBuffer
  private let slotByteCount: Int

  init(maximumPartCount: Int, maximumRowElementCount: Int, nodeCount: Int) {
    coder = FrameCoder(maximumElementCount: max(maximumPartCount, maximumRowElementCount))
    sum = FloatBuffer(count: maximumPartCount)
    decoded = FloatBuffer(count: max(maximumPartCount, maximumRowElementCount))
    slotByteCount = (FrameCoder.frameCapacity(elementCount: maximumPartCount) + 63) & ~63
    outgoing = AlignedBuffer(byteCount: slotByteCount * nodeCount)
    incoming = AlignedBuffer(byteCount: slotByteCount * nodeCount)
  }

  /// Room for a frame to a node.
  func outgoingSlot(_ node: Int) -> UnsafeMutableRawBufferPointer {
    outgoing.slice(from: node * slotByteCount, byteCount: slotByteCount)
  }

  /// Room for a frame from a node.
  func incomingSlot(_ node: Int) -> UnsafeMutableRawBufferPointer {
    incoming.slice(from: node * slotByteCount, byteCount: slotByteCount)
  }
}
