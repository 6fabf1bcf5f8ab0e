import Foundation
import Platform

/// Uninitialized memory aligned to at least 64 bytes, to be released with `free`.
///
/// Large allocations request huge pages: products traverse hundreds of megabytes, and mapping those 4 kB at a time takes most of
/// the start-up time.
func alignedMemory(byteCount: Int) -> UnsafeMutableRawPointer {
  let isLarge = byteCount >= largeByteCount
  let memory = SystemMemory.bytes(byteCount, alignment: isLarge ? hugePage : 64)
  // A hint: small pages suffice where the system has no huge ones.
  if isLarge { madvise(memory, byteCount, MADV_HUGEPAGE) }
  return memory
}

/// Memory aligned to at least 64 bytes, initially zero, released with this object.
///
/// The kernel maps the pages of a large allocation when they are first touched: start-up does not wait for gigabytes to be
/// cleared, and the engine's threads touch them in parallel.
///
/// `@unchecked Sendable`: it holds an address only.
package final class ZeroedMemory: @unchecked Sendable {
  /// The first byte.
  package let start: UnsafeMutableRawPointer
  /// The mapping; nil for a small allocation.
  private let mapping: UnsafeMutableRawBufferPointer?

  /// Memory of at least one byte.
  package init(byteCount: Int) {
    guard byteCount >= largeByteCount else {
      start = alignedMemory(byteCount: byteCount)
      memset(start, 0, byteCount)
      mapping = nil
      return
    }
    let mapping = SystemMemory.map(byteCount: byteCount + hugePage)
    guard let base = mapping.baseAddress else { preconditionFailure("a mapping without an address") }
    start = base.alignedUp(toMultipleOf: hugePage)
    madvise(start, byteCount, MADV_HUGEPAGE)
    self.mapping = mapping
  }

  deinit {
    if let mapping { munmap(mapping.baseAddress, mapping.count) } else { free(start) }
  }
}

/// Scratch memory that grows to its largest use in the first steps.
///
/// `@unchecked Sendable`: one thread at a time uses it.
package final class TemporaryMemory: @unchecked Sendable {
  private var data: UnsafeMutableRawPointer?
  private var capacity = 0

  /// No memory yet.
  package init() {}

  deinit { free(data) }

  /// At least `byteCount` bytes, 64-byte aligned and uninitialized; earlier ones may be released.
  package func memory(byteCount: Int) -> UnsafeMutableRawPointer {
    if let data, byteCount <= capacity { return data }
    free(data)
    capacity = max(64, byteCount)
    let data = alignedMemory(byteCount: capacity)
    self.data = data
    return data
  }
}

private let hugePage = 2 << 20
private let largeByteCount = 8 * hugePage
