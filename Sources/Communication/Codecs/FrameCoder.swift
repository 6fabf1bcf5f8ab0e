import CKernels
import Platform
import Tensors

/// Encodes floats as frames and decodes them; owns the scratch memory and zstd contexts, for one thread.
///
/// `@unchecked Sendable`: it may move between threads, one uses it at a time.
package final class FrameCoder: @unchecked Sendable {
  private let compressor = ZstdCompressor()
  private let decompressor = ZstdDecompressor()
  private let raw: AlignedBuffer
  private let scales: FloatBuffer
  private let maximumElementCount: Int

  /// A coder for frames of at most `maximumElementCount` values.
  package init(maximumElementCount: Int, in arena: Arena = Arena()) {
    self.maximumElementCount = maximumElementCount
    raw = AlignedBuffer(byteCount: Self.rawCapacity(elementCount: maximumElementCount), in: arena)
    scales = FloatBuffer(count: maximumElementCount, in: arena)
  }

  /// Maximum bytes of a frame of `elementCount` values, in any codec.
  package static func frameCapacity(elementCount: Int) -> Int {
    FrameHeader.byteCount + 4 * 8 + rawCapacity(elementCount: elementCount)
  }

  /// Bytes of a frame beside its sections.
  static func overheadByteCount(codec: Codec) -> Int {
    FrameHeader.byteCount + 8 * codec.sections(elementCount: 1, blockLength: 1).count
  }

  /// The largest is `int8` with a scale for each value.
  private static func rawCapacity(elementCount: Int) -> Int {
    5 * elementCount
  }

  /// Writes a frame with `values` to the front of `target` and returns its byte count.
  ///
  /// `feedback` is needed by lossy codecs and ignored by exact ones. `target` needs `frameCapacity` bytes.
  /// `decoded` receives the decoded values. Long sections are compressed where that is worthwhile at this `price`.
  package func encode(
    _ values: UnsafePointer<Float>, as frame: FrameDescription, feedback: ErrorFeedback? = nil,
    into target: UnsafeMutableRawBufferPointer, decoded: UnsafeMutablePointer<Float>? = nil,
    price: WirePrice = WirePrice()
  ) throws -> Int {
    precondition(frame.elementCount <= maximumElementCount && frame.blockLength > 0, "a frame within bounds")
    precondition(target.count >= Self.frameCapacity(elementCount: frame.elementCount), "room for a frame")
    let sections = frame.codec.sections(elementCount: frame.elementCount, blockLength: frame.blockLength)
    let rawAddress = UnsafeMutableRawPointer(raw.bytes(from: 0, byteCount: sections.rawByteCount).start)
    frame.codec.encode(
      values, count: frame.elementCount, blockLength: frame.blockLength, feedback: feedback,
      scales: scales.start, into: rawAddress)
    if let decoded {
      frame.codec.decode(
        rawAddress, count: frame.elementCount, blockLength: frame.blockLength, scales: scales.start,
        into: decoded)
    }
    var flags: UInt8 = 0
    var source = 0
    var end = FrameHeader.byteCount + 8 * sections.count
    for index in 0..<sections.count {
      let (byteCount, compression) = sections[index]
      let section = UnsafeRawBufferPointer(raw.bytes(from: source, byteCount: byteCount))
      let room = UnsafeMutableRawBufferPointer(rebasing: target[end...])
      let compressedByteCount =
        try compressor.isWorthCompressing(section, compression, scratch: room, price: price)
        ? compressor.compress(section, compression, into: room) : nil
      if compressedByteCount == nil { room.copyMemory(from: section) } else { flags |= 1 << UInt8(index) }
      let sentByteCount = compressedByteCount ?? byteCount
      target.storeBytes(
        of: UInt64(sentByteCount).littleEndian, toByteOffset: FrameHeader.byteCount + 8 * index,
        as: UInt64.self)
      source += byteCount
      end += sentByteCount
    }
    let header = FrameHeader(
      frame, flags: flags, rawByteCount: sections.rawByteCount, payloadByteCount: end - FrameHeader.byteCount)
    header.write(to: UnsafeMutableRawBufferPointer(rebasing: target[..<end]))
    return end
  }

  /// Decodes `frame` into `values`, which has room for the most expected, and returns their count.
  ///
  /// The frame is checked against the expectation and its checksum before any of it is used.
  package func decode(
    _ frame: UnsafeRawBufferPointer, expecting expected: FrameExpectation,
    into values: UnsafeMutablePointer<Float>
  ) throws -> Int {
    precondition(
      expected.elementCounts.upperBound <= maximumElementCount && expected.blockLength > 0, "in bounds")
    let header = try FrameHeader(reading: frame)
    try expected.check(header)
    let elementCount = Int(header.elementCount)
    let sections = expected.codec.sections(elementCount: elementCount, blockLength: expected.blockLength)
    try unpack(
      UnsafeRawBufferPointer(rebasing: frame[FrameHeader.byteCount...]), sections, flags: header.flags)
    expected.codec.decode(
      UnsafeRawPointer(raw.bytes.start), count: elementCount, blockLength: expected.blockLength,
      scales: scales.start, into: values)
    return elementCount
  }

  /// Decompresses all sections into `raw`, one after the other.
  private func unpack(
    _ payload: UnsafeRawBufferPointer, _ sections: SectionList, flags: UInt8
  ) throws(MilmError) {
    try expect("flags beyond the sections", 0, flags >> UInt8(sections.count))
    guard payload.count >= 8 * sections.count else {
      throw MilmError(
        "payload: expected at least \(8 * sections.count) bytes, found \(payload.count)")
    }
    var rest = UnsafeRawBufferPointer(rebasing: payload[(8 * sections.count)...])
    var rawOffset = 0
    for index in 0..<sections.count {
      let rawByteCount = sections[index].byteCount
      let isCompressed = flags >> UInt8(index) & 1 == 1
      let announced = UInt64(littleEndian: payload.loadUnaligned(fromByteOffset: 8 * index, as: UInt64.self))
      let limit = min(rest.count, isCompressed ? rawByteCount - 1 : rawByteCount)
      guard let byteCount = Int(exactly: announced), byteCount <= limit,
        isCompressed || byteCount == rawByteCount
      else {
        throw MilmError("section \(index): expected at most \(limit) bytes, found \(announced)")
      }
      let section = UnsafeRawBufferPointer(rebasing: rest[..<byteCount])
      let target = raw.bytes(from: rawOffset, byteCount: rawByteCount)
      if isCompressed {
        try decompressor.decompress(section, into: target)
      } else {
        target.copyMemory(from: section)
      }
      rest = UnsafeRawBufferPointer(rebasing: rest[byteCount...])
      rawOffset += rawByteCount
    }
    try expect("bytes after the last section", 0, rest.count)
  }
}

extension UnsafeMutableRawBufferPointer {
  /// The address of the first byte of memory that is known to be allocated.
  fileprivate var start: UnsafeMutableRawPointer {
    guard let baseAddress else { preconditionFailure("memory without an address") }
    return baseAddress
  }
}
