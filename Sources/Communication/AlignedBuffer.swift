/// Memory with an address that stays: a message in flight may point into it until this object is gone.
///
/// Swift may let go of an object after its last mention, before its memory is last used: a local one needs
/// `withExtendedLifetime`.
///
/// `@unchecked Sendable`: its owner decides which one thread uses which bytes at a time.
final class AlignedBuffer: @unchecked Sendable {
  /// All of the memory; every byte was zero at first.
  let bytes: UnsafeMutableRawBufferPointer

  init(byteCount: Int) {
    bytes = .allocate(byteCount: max(byteCount, 1), alignment: 64)
    bytes.initializeMemory(as: UInt8.self, repeating: 0)
  }

  deinit {
    bytes.deallocate()
  }

  /// The memory from `offset` on.
  func slice(from offset: Int, byteCount: Int) -> UnsafeMutableRawBufferPointer {
    UnsafeMutableRawBufferPointer(rebasing: bytes[offset..<offset + byteCount])
  }
}

/// Floats with an address that stays, all zero at first.
final class FloatBuffer: @unchecked Sendable {
  /// The first element.
  let start: UnsafeMutablePointer<Float>
  /// How many there are.
  let count: Int

  init(count: Int) {
    start = .allocate(capacity: max(count, 1))
    start.initialize(repeating: 0, count: max(count, 1))
    self.count = count
  }

  deinit {
    start.deallocate()
  }

  /// All elements, to read.
  var values: UnsafeBufferPointer<Float> { UnsafeBufferPointer(start: start, count: count) }
  /// All elements as bytes, to send.
  var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(values) }
  /// All elements as bytes, to receive into.
  var mutableBytes: UnsafeMutableRawBufferPointer {
    UnsafeMutableRawBufferPointer(UnsafeMutableBufferPointer(start: start, count: count))
  }
}
