import Tensors

/// Memory with an address that stays: a message in flight may point into it until this object is gone.
///
/// Swift may let go of an object after its last mention, before its memory is last used: a local one needs
/// `withExtendedLifetime`.
///
/// `@unchecked Sendable`: its owner decides which one thread uses which bytes at a time.
final class AlignedBuffer: @unchecked Sendable {
  /// All of the memory; every byte was zero at first.
  let bytes: UnsafeMutableRawBufferPointer
  private let memory: ZeroedMemory

  init(byteCount: Int) {
    memory = ZeroedMemory(byteCount: max(byteCount, 1))
    bytes = UnsafeMutableRawBufferPointer(start: memory.start, count: max(byteCount, 1))
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
  private let memory: ZeroedMemory

  init(count: Int) {
    memory = ZeroedMemory(byteCount: MemoryLayout<Float>.stride * max(count, 1))
    start = memory.start.bindMemory(to: Float.self, capacity: max(count, 1))
    self.count = count
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
