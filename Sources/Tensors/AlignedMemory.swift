import Foundation

/// Memory aligned to at least 64 bytes, to be given back with `free`; what it holds is undefined.
///
/// Large pieces ask for huge pages: products walk over hundreds of megabytes, and to map those 4 kB at a time is most of
/// the time of a start.
func alignedMemory(byteCount: Int) -> UnsafeMutableRawPointer {
  let isLarge = byteCount >= largeByteCount
  var memory: UnsafeMutableRawPointer?
  let status = posix_memalign(&memory, isLarge ? hugePage : 64, max(byteCount, 1))
  guard status == 0, let memory else { preconditionFailure("out of memory: \(byteCount) bytes asked for") }
  // A wish: small pages do where the system has no huge ones.
  if isLarge { madvise(memory, byteCount, MADV_HUGEPAGE) }
  return memory
}

/// Memory aligned to at least 64 bytes that is zero at first, and is given back with this object.
///
/// The kernel gives the pages of a large one as they are touched: a start does not wait for gigabytes to be cleared, and the
/// engine's threads take them side by side.
///
/// `@unchecked Sendable`: it only says where the memory is.
public final class ZeroedMemory: @unchecked Sendable {
  /// The first byte.
  public let start: UnsafeMutableRawPointer
  /// What the kernel has mapped; nil for a small piece.
  private let mapping: UnsafeMutableRawBufferPointer?

  /// Memory of at least one byte.
  public init(byteCount: Int) {
    guard byteCount >= largeByteCount else {
      start = alignedMemory(byteCount: byteCount)
      memset(start, 0, byteCount)
      mapping = nil
      return
    }
    let mappedByteCount = byteCount + hugePage
    let base = mmap(nil, mappedByteCount, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    guard let base, base != MAP_FAILED else {
      preconditionFailure("out of memory: \(byteCount) bytes asked for")
    }
    start = base.alignedUp(toMultipleOf: hugePage)
    madvise(start, byteCount, MADV_HUGEPAGE)
    mapping = UnsafeMutableRawBufferPointer(start: base, count: mappedByteCount)
  }

  deinit {
    if let mapping { munmap(mapping.baseAddress, mapping.count) } else { free(start) }
  }
}

/// Memory that grows to what its largest use needs, in the first steps.
///
/// `@unchecked Sendable`: one thread at a time uses it.
public final class TemporaryMemory: @unchecked Sendable {
  private var data: UnsafeMutableRawPointer?
  private var capacity = 0

  /// No memory yet.
  public init() {}

  deinit { free(data) }

  /// At least `byteCount` bytes, 64-byte aligned, what they hold undefined; earlier ones are given back.
  public func memory(byteCount: Int) -> UnsafeMutableRawPointer {
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
