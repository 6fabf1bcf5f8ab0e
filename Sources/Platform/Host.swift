import Foundation

/// Facts about this host.
package enum Host {
  /// The host's name.
  package static var name: String { ProcessInfo.processInfo.hostName }

  /// The model of the processors, nil if the kernel does not say.
  package static var processorName: String? {
    let text = try? String(contentsOfFile: "/proc/cpuinfo", encoding: .utf8)
    let line = text?.split(separator: "\n").first { $0.hasPrefix("model name") }
    return line?.split(separator: ":").last?.trimmingCharacters(in: .whitespaces)
  }

  /// Memory that can be allocated without swapping (`MemAvailable`), nil if the kernel does not say.
  package static var availableByteCount: Int? {
    let text = try? String(contentsOfFile: "/proc/meminfo", encoding: .utf8)
    let line = text?.split(separator: "\n").first { $0.hasPrefix("MemAvailable:") }
    return line?.split(separator: " ").dropFirst().first.flatMap { Int($0) }.map { $0 * 1024 }
  }

  /// The most memory this process has held so far.
  package static var peakByteCount: Int {
    var usage = rusage()
    getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
    return usage.ru_maxrss * 1024
  }
}

/// The processors of this host that a process may run on.
public struct Processors: Sendable, Equatable {
  /// The set as the kernel writes it, in hexadecimal: equal for two processes that share the same processors.
  public let mask: String

  /// Those of this process: fewer than all if a launcher or a container has bound it.
  public static var allowed: Processors {
    let status = (try? String(contentsOfFile: "/proc/self/status", encoding: .utf8)) ?? ""
    let line = status.split(separator: "\n").first { $0.hasPrefix("Cpus_allowed:") }
    let mask = line?.split(separator: ":").last?.trimmingCharacters(in: .whitespaces)
    return Processors(mask: mask ?? String(ProcessInfo.processInfo.processorCount, radix: 16))
  }

  /// The processors of a mask in hexadecimal; commas are ignored.
  public init(mask: String) { self.mask = mask }

  /// Number of processors.
  public var count: Int {
    max(1, mask.reduce(0) { $0 + ($1.hexDigitValue?.nonzeroBitCount ?? 0) })
  }

  /// Threads for each of `rankCount` ranks that share these processors: `OMP_NUM_THREADS`, or else its share.
  public func threadCount(
    sharedBy rankCount: Int, environment: [String: String] = ProcessInfo.processInfo.environment
  ) -> Int {
    if let wish = environment["OMP_NUM_THREADS"].flatMap({ Int($0) }), wish > 0 { return min(wish, count) }
    return max(1, count / rankCount)
  }
}
