import Foundation

/// Memory aligned to at least 64 bytes, to be given back with `free`; what it holds is undefined.
///
/// Large pieces ask for huge pages: products walk over hundreds of megabytes, and to map those 4 kB at a time is most of
/// the time of a start.
func alignedMemory(byteCount: Int) -> UnsafeMutableRawPointer {
  let hugePage = 2 << 20
  let isLarge = byteCount >= 8 * hugePage
  var memory: UnsafeMutableRawPointer?
  let status = posix_memalign(&memory, isLarge ? hugePage : 64, max(byteCount, 1))
  guard status == 0, let memory else { preconditionFailure("out of memory: \(byteCount) bytes asked for") }
  // A wish: small pages do where the system has no huge ones.
  if isLarge { madvise(memory, byteCount, MADV_HUGEPAGE) }
  return memory
}
