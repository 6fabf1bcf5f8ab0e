/// The memory a gradient exchange works in, sized once by the largest part and the most rows.
///
/// Frames lie in slots. Those of two buckets are there at once, which take turns: one is on the wire while the other is coded.
final class ExchangeWorkspace: Sendable {
  /// How many buckets have slots at a time.
  static let turnCount = 2

  let coder: FrameCoder
  /// The sum of a part, then its mean.
  let sum: FloatBuffer
  /// What one frame decodes to.
  let decoded: FloatBuffer
  /// By turn: frames to the owners of parts, one a node.
  let outgoing: [FrameSlots]
  /// By turn: the frame of this rank's mean.
  let mean: [FrameSlots]
  /// By turn: frames of the part this rank owns, one a node.
  let incomingParts: [FrameSlots]
  /// By turn: frames of means, one a node.
  let incomingMeans: [FrameSlots]

  init(maximumPartCount: Int, maximumRowElementCount: Int, nodeCount: Int) {
    coder = FrameCoder(maximumElementCount: max(maximumPartCount, maximumRowElementCount))
    sum = FloatBuffer(count: maximumPartCount)
    decoded = FloatBuffer(count: max(maximumPartCount, maximumRowElementCount))
    func slots(_ count: Int) -> [FrameSlots] {
      (0..<Self.turnCount).map { _ in FrameSlots(count, elementCount: maximumPartCount) }
    }
    outgoing = slots(nodeCount)
    mean = slots(1)
    incomingParts = slots(nodeCount)
    incomingMeans = slots(nodeCount)
  }
}

/// Room for some frames of equal size.
struct FrameSlots: Sendable {
  private let memory: AlignedBuffer
  private let slotByteCount: Int

  /// Room for `count` frames of at most `elementCount` values each.
  init(_ count: Int, elementCount: Int) {
    slotByteCount = (FrameCoder.frameCapacity(elementCount: elementCount) + 63) & ~63
    memory = AlignedBuffer(byteCount: slotByteCount * count)
  }

  /// Room for one frame.
  subscript(number: Int) -> UnsafeMutableRawBufferPointer {
    memory.slice(from: number * slotByteCount, byteCount: slotByteCount)
  }
}
