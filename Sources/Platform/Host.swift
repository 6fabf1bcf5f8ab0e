import Foundation

/// Facts about this host.
package enum Host {
  /// The host's name.
  package static var name: String { ProcessInfo.processInfo.hostName }

  /// The model of the processors, nil if the kernel does not say.
  package static var processorName: String? { value(of: "model name", in: text("/proc/cpuinfo")) }

  /// Memory that can be allocated without swapping, nil if the kernel does not say.
  package static var availableByteCount: Int? { byteCount(of: "MemAvailable", in: text("/proc/meminfo")) }

  /// Peak memory of this process so far, 0 if the kernel does not say.
  package static var peakByteCount: Int { byteCount(of: "VmHWM", in: text("/proc/self/status")) ?? 0 }

  /// Free space of the file system of a folder, nil if it cannot be determined.
  package static func freeByteCount(_ folder: String) -> Int? {
    let attributes = try? FileManager.default.attributesOfFileSystem(forPath: folder)
    return (attributes?[.systemFreeSize] as? NSNumber)?.intValue
  }

  /// The text of a file of the kernel, empty if there is none.
  package static func text(_ path: String) -> String {
    (try? String(contentsOfFile: path, encoding: .utf8)) ?? ""
  }

  /// The value of the first `name : value` line, nil if there is none.
  package static func value(of name: String, in text: String) -> String? {
    text.split(separator: "\n").lazy.compactMap { line -> String? in
      let parts = line.split(separator: ":", maxSplits: 1).map { $0.trimmingCharacters(in: .whitespaces) }
      return parts.count == 2 && parts[0] == name ? parts[1] : nil
    }.first
  }

  /// The byte count of a line `name: N kB`.
  private static func byteCount(of name: String, in text: String) -> Int? {
    value(of: name, in: text)?.split(separator: " ").first.flatMap { Int($0) }.map { $0 * 1024 }
  }
}

/// The processors of this host that a process may run on.
package struct Processors: Sendable, Equatable {
  /// The set as the kernel writes it, in hexadecimal: equal for two processes that share the same processors.
  package let mask: String

  /// Those of this process: fewer than all if a launcher or a container has bound it.
  package static var allowed: Processors {
    let mask = Host.value(of: "Cpus_allowed", in: Host.text("/proc/self/status"))
    return Processors(mask: mask ?? String(ProcessInfo.processInfo.processorCount, radix: 16))
  }

  /// The processors of a mask in hexadecimal; commas are ignored.
  package init(mask: String) { self.mask = mask }

  /// Number of processors.
  package var count: Int {
    max(1, mask.reduce(0) { $0 + ($1.hexDigitValue?.nonzeroBitCount ?? 0) })
  }

  /// Threads for each of `rankCount` ranks that share these processors: `OMP_NUM_THREADS`, or else an equal share.
  package func threadCount(
    sharedBy rankCount: Int, environment: [String: String] = ProcessInfo.processInfo.environment
  ) -> Int {
    if let requested = environment["OMP_NUM_THREADS"].flatMap({ Int($0) }), requested > 0 {
      return min(requested, count)
    }
    return max(1, count / rankCount)
  }
}
