import Platform

/// Describes a frame to be sent.
package struct FrameDescription: Sendable {
  /// How its values are coded.
  package let codec: Codec
  /// The operation it belongs to.
  package let operation: MessageTag
  /// The rank that sends it.
  package let sender: Int
  package let elementCount: Int
  /// Values that share a scale, for codecs with scales.
  package let blockLength: Int

  /// A frame of `elementCount` values.
  package init(
    codec: Codec, operation: MessageTag, sender: Int, elementCount: Int, blockLength: Int
  ) {
    self.codec = codec
    self.operation = operation
    self.sender = sender
    self.elementCount = elementCount
    self.blockLength = blockLength
  }
}

/// Expected content of a received frame; any difference is an error.
package struct FrameExpectation: Sendable {
  /// How its values must be coded.
  package let codec: Codec
  /// The operation it must belong to.
  package let operation: MessageTag
  /// The rank it must come from.
  package let sender: Int
  /// The allowed numbers of values.
  package let elementCounts: ClosedRange<Int>
  /// Values that share a scale.
  package let blockLength: Int

  /// A frame with a number of values within `elementCounts`.
  package init(
    codec: Codec, operation: MessageTag, sender: Int, elementCounts: ClosedRange<Int>,
    blockLength: Int
  ) {
    self.codec = codec
    self.operation = operation
    self.sender = sender
    self.elementCounts = elementCounts
    self.blockLength = blockLength
  }

  /// Compares the header with the expectation, field by field.
  package func check(_ header: FrameHeader) throws(MilmError) {
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

/// The first 64 bytes of a frame, little-endian.
///
/// | offset | what |
/// |---|---|
/// | 0 | `MXCH` |
/// | 4 | u16 version |
/// | 6 | u8 codec |
/// | 7 | u8 flags: bit i is set where section i is compressed by zstd, clear where it is stored |
/// | 8 | u64 step |
/// | 16 | u32 bucket |
/// | 20 | u8 phase, then three zero bytes |
/// | 24 | u32 sender |
/// | 28 | u32 block length |
/// | 32 | u64 elements |
/// | 40 | u64 bytes of the payload before zstd |
/// | 48 | u64 bytes of the payload |
/// | 56 | u64 XXH64 of the payload, seeded with the XXH64 of the 56 bytes before |
///
/// The payload is a u64 byte count per section, then the sections.
package struct FrameHeader: Equatable {
  package static let byteCount = 64
  static let magic: UInt32 = 0x4843_584D
  static let version: UInt16 = 1
  private static let checksumOffset = 56

  var codec: UInt8
  var flags: UInt8
  var step: UInt64
  var bucket: UInt32
  var phase: UInt8
  var sender: UInt32
  var blockLength: UInt32
  var elementCount: UInt64
  var rawByteCount: UInt64
  var payloadByteCount: UInt64

  /// Writes the header before the payload, which is already in `frame`.
  func write(to frame: UnsafeMutableRawBufferPointer) {
    func store<Value: FixedWidthInteger>(_ value: Value, at offset: Int) {
      frame.storeBytes(of: value.littleEndian, toByteOffset: offset, as: Value.self)
    }
    store(Self.magic, at: 0)
    store(Self.version, at: 4)
    store(codec, at: 6)
    store(flags, at: 7)
    store(step, at: 8)
    store(bucket, at: 16)
    store(UInt32(phase), at: 20)
    store(sender, at: 24)
    store(blockLength, at: 28)
    store(elementCount, at: 32)
    store(rawByteCount, at: 40)
    store(payloadByteCount, at: 48)
    store(Self.checksum(of: UnsafeRawBufferPointer(frame)), at: Self.checksumOffset)
  }

  /// Reads the header of `frame`; throws where the bytes are not a whole frame.
  package init(reading frame: UnsafeRawBufferPointer) throws(MilmError) {
    func load<Value: FixedWidthInteger>(_ type: Value.Type, at offset: Int) -> Value {
      Value(littleEndian: frame.loadUnaligned(fromByteOffset: offset, as: type))
    }
    guard frame.count >= Self.byteCount else {
      throw MilmError("expected at least \(Self.byteCount) bytes, found \(frame.count)")
    }
    try expect("magic number", Self.magic, load(UInt32.self, at: 0))
    try expect("version", Self.version, load(UInt16.self, at: 4))
    codec = load(UInt8.self, at: 6)
    flags = load(UInt8.self, at: 7)
    step = load(UInt64.self, at: 8)
    bucket = load(UInt32.self, at: 16)
    phase = load(UInt8.self, at: 20)
    try expect("reserved bytes", 0, load(UInt32.self, at: 20) >> 8)
    sender = load(UInt32.self, at: 24)
    blockLength = load(UInt32.self, at: 28)
    elementCount = load(UInt64.self, at: 32)
    rawByteCount = load(UInt64.self, at: 40)
    payloadByteCount = load(UInt64.self, at: 48)
    try expect("payload bytes", UInt64(frame.count - Self.byteCount), payloadByteCount)
    try expect("checksum", Self.checksum(of: frame), load(UInt64.self, at: Self.checksumOffset))
  }

  init(_ frame: FrameDescription, flags: UInt8, rawByteCount: Int, payloadByteCount: Int) {
    codec = frame.codec.code
    self.flags = flags
    step = UInt64(frame.operation.step)
    bucket = UInt32(frame.operation.index)
    phase = frame.operation.phase.rawValue
    sender = UInt32(frame.sender)
    blockLength = UInt32(frame.blockLength)
    elementCount = UInt64(frame.elementCount)
    self.rawByteCount = UInt64(rawByteCount)
    self.payloadByteCount = UInt64(payloadByteCount)
  }

  /// The byte count of the frame at the front of `bytes`, from its header; nil if they cannot hold it.
  static func frameByteCount(atFrontOf bytes: UnsafeRawBufferPointer) -> Int? {
    guard bytes.count >= byteCount else { return nil }
    let announced = UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: 48, as: UInt64.self))
    guard announced <= UInt64(bytes.count - byteCount) else { return nil }
    return byteCount + Int(announced)
  }

  package static func checksum(of frame: UnsafeRawBufferPointer) -> UInt64 {
    let seed = XXH64.hash(UnsafeRawBufferPointer(rebasing: frame[..<checksumOffset]))
    let payload = UnsafeRawBufferPointer(rebasing: frame[byteCount...])
    return XXH64.hash(payload, seed: seed)
  }
}

/// Throws "expected …, found …" where the two differ.
func expect<Value: Equatable>(
  _ what: String, _ expected: Value, _ found: Value
) throws(MilmError) {
  guard expected == found else {
    throw MilmError("\(what): expected \(expected), found \(found)")
  }
}
