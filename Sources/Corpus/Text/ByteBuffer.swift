import CKernels

/// Bytes that grow at the end, always with room for some more that may be read but mean nothing.
struct ByteBuffer: ~Copyable {
  /// How far past the end the loops that look for words may read.
  static let paddingByteCount = Int(CKernels_wordsPadding)

  private(set) var base: UnsafeMutableRawPointer
  private(set) var count = 0
  private var capacity: Int

  init(capacity: Int = 64) {
    self.capacity = capacity
    base = .allocate(byteCount: capacity + Self.paddingByteCount, alignment: 16)
  }

  deinit { base.deallocate() }

  /// The bytes; valid until the next change.
  var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: base, count: count) }

  /// The part after the end that may be filled before `extend(by:)`.
  var free: UnsafeMutableRawBufferPointer {
    UnsafeMutableRawBufferPointer(start: base + count, count: capacity - count)
  }

  mutating func reserve(_ byteCount: Int) {
    guard capacity - count < byteCount else { return }
    capacity = max(2 * capacity, count + byteCount)
    let grown = UnsafeMutableRawPointer.allocate(
      byteCount: capacity + Self.paddingByteCount, alignment: 16)
    grown.copyMemory(from: base, byteCount: count)
    base.deallocate()
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

  /// Takes `byteCount` bytes that were written into `free` as content.
  mutating func extend(by byteCount: Int) {
    precondition(byteCount >= 0 && byteCount <= capacity - count, "more bytes than there was room for")
    count += byteCount
  }

  mutating func truncate(to byteCount: Int) {
    precondition(byteCount >= 0 && byteCount <= count, "cannot truncate to more bytes than there are")
    count = byteCount
  }

  /// Puts white space into the padding, so that a word at the very end has an end.
  mutating func seal() {
    (base + count).initializeMemory(as: UInt8.self, repeating: 0x20, count: Self.paddingByteCount)
  }
}
