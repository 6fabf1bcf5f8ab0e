import Foundation

/// The processors of this machine that the operating system lets this process run on.
public struct Processors: Sendable, Equatable {
  /// The set as the kernel writes it, in hexadecimal: the same for two processes that share the same processors.
  public let mask: String

  /// Those of this process: fewer than all where a launcher or a container has bound it.
  public static var allowed: Processors {
    let status = (try? String(contentsOfFile: "/proc/self/status", encoding: .utf8)) ?? ""
    let line = status.split(separator: "\n").first { $0.hasPrefix("Cpus_allowed:") }
    let mask = line?.split(separator: ":").last?.trimmingCharacters(in: .whitespaces)
    return Processors(mask: mask ?? String(ProcessInfo.processInfo.processorCount, radix: 16))
  }

  /// The processors of a mask in hexadecimal, commas left out of account.
  public init(mask: String) { self.mask = mask }

  /// How many they are.
  public var count: Int {
    max(1, mask.reduce(0) { $0 + ($1.hexDigitValue?.nonzeroBitCount ?? 0) })
  }

  /// The threads for one of `rankCount` ranks that share these processors: what `OMP_NUM_THREADS` says, or else
  /// its share.
  public func threadCount(
    sharedBy rankCount: Int, environment: [String: String] = ProcessInfo.processInfo.environment
  ) -> Int {
    if let wish = environment["OMP_NUM_THREADS"].flatMap({ Int($0) }), wish > 0 { return min(wish, count) }
    return max(1, count / rankCount)
  }
}
