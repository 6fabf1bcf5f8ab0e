import Foundation

/// Memory from the system: the only place that asks for it, so that a refusal never becomes a bad pointer.
///
/// Where there is none the process ends with status 1 and one line: nobody who asks for memory can continue without it.
package enum SystemMemory {
  /// Uninitialized memory of at least one byte, to be released with `free`.
  package static func bytes(_ byteCount: Int, alignment: Int = 64) -> UnsafeMutableRawPointer {
    var memory: UnsafeMutableRawPointer?
    let code = posix_memalign(&memory, alignment, max(byteCount, 1))
    guard code == 0, let memory else { refuse(byteCount: byteCount, code: code) }
    return memory
  }

  /// Zeroed pages that exist once they are touched, to be released with `munmap`.
  package static func map(byteCount: Int) -> UnsafeMutableRawBufferPointer {
    let start = mmap(nil, byteCount, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    let code = errno
    guard let start, start != MAP_FAILED else { refuse(byteCount: byteCount, code: code) }
    return UnsafeMutableRawBufferPointer(start: start, count: byteCount)
  }

  /// Memory that a C library has allocated; ends the process where it is nil, which means out of memory.
  package static func require<Handle>(_ handle: Handle?, for purpose: String) -> Handle {
    guard let handle else { refuse(purpose) }
    return handle
  }

  /// Ends the process, because there is no memory for `purpose`.
  package static func refuse(_ purpose: String, code: CInt = ENOMEM) -> Never {
    StandardStream.error.note("out of memory: cannot allocate \(purpose): \(String(cString: strerror(code)))")
    _exit(EXIT_FAILURE)
  }

  private static func refuse(byteCount: Int, code: CInt) -> Never {
    refuse("\(byteCount) bytes", code: code)
  }
}

extension UnsafeMutablePointer {
  /// Uninitialized memory for `capacity` elements, to be released with `free`.
  package static func allocated(capacity: Int) -> UnsafeMutablePointer {
    SystemMemory.bytes(capacity * MemoryLayout<Pointee>.stride)
      .bindMemory(to: Pointee.self, capacity: capacity)
  }
}

extension UnsafeMutableBufferPointer {
  /// Uninitialized memory for `capacity` elements, to be released with `free`.
  package static func allocated(capacity: Int) -> UnsafeMutableBufferPointer {
    UnsafeMutableBufferPointer(start: .allocated(capacity: capacity), count: capacity)
  }
}

extension UnsafeMutableRawBufferPointer {
  /// Uninitialized memory of `byteCount` bytes, aligned to 64, to be released with `free`.
  package static func allocated(byteCount: Int) -> UnsafeMutableRawBufferPointer {
    UnsafeMutableRawBufferPointer(start: SystemMemory.bytes(byteCount), count: byteCount)
  }
}
