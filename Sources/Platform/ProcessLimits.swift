import Foundation

/// The limits of this process's memory, as `ulimit -v` and `ulimit -d` set them.
package struct ProcessLimits: Sendable, Equatable {
  package let limitByteCount: Int
  /// Bytes that the process can still allocate.
  package let availableByteCount: Int
  /// The limited resource and the limit, for messages.
  package let description: String

  /// For each thread that a process starts: its stack, and what libraries allocate for it.
  private static let byteCountPerThread = 16 << 20
  /// Memory that libraries allocate at the start: MPI, compiled kernels, buffers of files.
  private static let fixedByteCount = 96 << 20

  /// The limit that leaves the least, with `threadCount` threads still to be started; nil where there is none.
  package static func narrowest(threadCount: Int) -> ProcessLimits? {
    let pages = Host.text("/proc/self/statm").split(whereSeparator: \.isWhitespace).compactMap { Int($0) }
    guard pages.count > 5 else { return nil }
    let reserve = fixedByteCount + threadCount * byteCountPerThread
    func limit(_ resource: __rlimit_resource, used: Int, _ name: String, _ option: String) -> ProcessLimits? {
      var values = rlimit()
      guard getrlimit(__rlimit_resource_t(resource.rawValue), &values) == 0, values.rlim_cur < 1 << 60 else {
        return nil
      }
      let limit = Int(values.rlim_cur)
      return ProcessLimits(
        limitByteCount: limit, availableByteCount: max(0, limit - used - reserve),
        description: "the \(name) of this process, limited to \(limit / 1_000_000) MB by ulimit -\(option),")
    }
    let pageByteCount = Int(sysconf(Int32(_SC_PAGESIZE)))
    return [
      limit(RLIMIT_AS, used: pages[0] * pageByteCount, "address space", "v"),
      limit(RLIMIT_DATA, used: pages[5] * pageByteCount, "data", "d"),
    ].compactMap { $0 }.min { $0.availableByteCount < $1.availableByteCount }
  }
}
