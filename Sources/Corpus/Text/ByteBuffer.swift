import CKernels
import Foundation
import Platform

/// A growable byte buffer, padded so that vector loops may read past its end.
struct ByteBuffer: ~Copyable {
  /// How far past the end the word loops may read.
  static let paddingByteCount = Int(CKernels_wordsPadding)

  private(set) var base: UnsafeMutableRawPointer
  private(set) var count = 0
  private var capacity: Int

  init(capacity: Int = 64) {
    self.capacity = capacity
    base = SystemMemory.bytes(capacity + Self.paddingByteCount)
  }

  deinit { Foundation.free(base) }

  /// The content, valid until the next change.
  var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: base, count: count) }

  /// The free space after the end, to be filled before `extend(by:)`.
  var free: UnsafeMutableRawBufferPointer {
    UnsafeMutableRawBufferPointer(start: base + count, count: capacity - count)
  }

  mutating func reserve(_ byteCount: Int) {
    guard capacity - count < byteCount else { return }
    capacity = max(2 * capacity, count + byteCount)
    let grown = SystemMemory.bytes(capacity + Self.paddingByteCount)
    grown.copyMemory(from: base, byteCount: count)
    Foundation.free(base)
    base = grown
  }

  mutating func append(_ source: UnsafeRawBufferPointer) {
    reserve(source.count)
    free.copyMemory(from: source)
    count += source.count
  }

  mutating func append(_ byte: UInt8) {
    reserve(1)
    base.storeBytes(of: byte, toByteOffset: count, as: UInt8.self)
    count += 1
  }

  /// Appends the first `byteCount` bytes of `free`.
  mutating func extend(by byteCount: Int) {
    precondition(byteCount >= 0 && byteCount <= capacity - count, "more bytes than there was room for")
    count += byteCount
  }

  mutating func truncate(to byteCount: Int) {
    precondition(byteCount >= 0 && byteCount <= count, "cannot truncate to more bytes than there are")
    count = byteCount
  }

  /// Fills the padding with white space, which terminates a token at the very end.
  mutating func seal() {
    (base + count).initializeMemory(as: UInt8.self, repeating: 0x20, count: Self.paddingByteCount)
  }
}
