import Platform

/// What a frame to be sent holds.
public struct FrameDescription: Sendable {
  /// How its values are coded.
  public let codec: Codec
  /// The operation it belongs to.
  public let operation: CollectiveOperation
  /// The rank that sends it.
  public let sender: Int
  /// How many values it holds.
  public let elementCount: Int
  /// Values that share a scale, for codecs with scales.
  public let blockLength: Int

  /// A frame of `elementCount` values.
  public init(
    codec: Codec, operation: CollectiveOperation, sender: Int, elementCount: Int, blockLength: Int
  ) {
    self.codec = codec
    self.operation = operation
    self.sender = sender
    self.elementCount = elementCount
    self.blockLength = blockLength
  }
}

/// What a frame to be received must hold; whatever else it says is an error.
public struct FrameExpectation: Sendable {
  /// How its values must be coded.
  public let codec: Codec
  /// The operation it must belong to.
  public let operation: CollectiveOperation
  /// The rank it must come from.
  public let sender: Int
  /// How many values it may hold.
  public let elementCounts: ClosedRange<Int>
  /// Values that share a scale.
  public let blockLength: Int

  /// A frame with a number of values within `elementCounts`.
  public init(
    codec: Codec, operation: CollectiveOperation, sender: Int, elementCounts: ClosedRange<Int>,
    blockLength: Int
  ) {
    self.codec = codec
    self.operation = operation
    self.sender = sender
    self.elementCounts = elementCounts
    self.blockLength = blockLength
  }

  /// Compares the header with what is expected, field by field.
  func check(_ header: FrameHeader) throws(MilmError) {
    try expect("step", UInt64(operation.step), header.step)
    try expect("bucket", UInt32(operation.index), header.bucket)
    try expect("phase", operation.phase.rawValue, header.phase)
    try expect("sender", UInt32(sender), header.sender)
    try expect("codec", codec.code, header.codec)
    try expect("block length", UInt32(blockLength), header.blockLength)
    guard let elementCount = Int(exactly: header.elementCount), elementCounts.contains(elementCount) else {
      throw MilmError("elements: expected \(expectedElements), found \(header.elementCount)")
    }
    let rawByteCount = codec.rawByteCount(elementCount: elementCount, blockLength: blockLength)
    try expect("raw bytes", UInt64(rawByteCount), header.rawByteCount)
  }

  private var expectedElements: String {
    elementCounts.count == 1 ? "\(elementCounts.lowerBound)" : "at most \(elementCounts.upperBound)"
  }
}
