import Foundation

/// Facts about this host.
package enum Host {
  /// The host's name.
  package static var name: String { ProcessInfo.processInfo.hostName }

  /// The model of the processors, nil if the kernel does not say.
  package static var processorName: String? { value(of: "model name", in: text("/proc/cpuinfo")) }

  /// The number of processors, whoever may use them.
  package static var processorCount: Int {
    max(1, text("/proc/cpuinfo").split(separator: "\n").count { $0.hasPrefix("processor") })
  }

  /// Memory that can be allocated without swapping, nil if the kernel does not say.
  package static var availableByteCount: Int? { byteCount(of: "MemAvailable", in: text("/proc/meminfo")) }

  /// Peak memory of this process so far, 0 if the kernel does not say.
  package static var peakByteCount: Int { byteCount(of: "VmHWM", in: text("/proc/self/status")) ?? 0 }

  /// Free space of the file system of a directory, nil if it cannot be determined.
  package static func freeByteCount(_ directory: String) -> Int? {
    let attributes = try? FileManager.default.attributesOfFileSystem(forPath: directory)
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

/// The processors of this host that a process may run on, and how much of their time it may use.
package struct Processors: Sendable, Equatable {
  /// The set as the kernel writes it, in hexadecimal: equal for two processes that share the same processors.
  package let mask: String
  /// The limit of processor time of a container or batch job; nil if there is none.
  package let quota: ControlGroups.Quota?

  /// Those of this process: fewer than all if a launcher or a container has bound it.
  package static var allowed: Processors {
    let mask = Host.value(of: "Cpus_allowed", in: Host.text("/proc/self/status"))
    return Processors(
      mask: mask ?? String(ProcessInfo.processInfo.processorCount, radix: 16), quota: ControlGroups().quota)
  }

  /// The processors of a mask in hexadecimal; commas are ignored.
  package init(mask: String, quota: ControlGroups.Quota? = nil) {
    self.mask = mask
    self.quota = quota
  }

  /// The most compute threads that a rank can be told to use.
  package static let threadLimit = 1024

  package var count: Int {
    max(1, mask.reduce(0) { $0 + ($1.hexDigitValue?.nonzeroBitCount ?? 0) })
  }

  /// The processors that can be kept busy: as many as there are, or as the quota pays for.
  package var usableCount: Int { min(count, quotaShare(sharedBy: 1)) }

  /// Threads for each of `rankCount` ranks that share these processors, and of `quotaRankCount` that share the quota:
  /// `OMP_NUM_THREADS`, or else an equal share, never more than the share of the quota.
  ///
  /// As in OpenMP, the variable may ask for more threads than there are processors; a quota would stop them for most of
  /// each period.
  package func threadCount(
    sharedBy rankCount: Int, quotaSharedBy quotaRankCount: Int? = nil,
    environment: [String: String] = ProcessInfo.processInfo.environment
  ) -> Int {
    let quota = quotaShare(sharedBy: quotaRankCount ?? rankCount)
    let requested = OpenMPThreads(environment)
    return max(
      1, min(requested.count ?? count / rankCount, requested.limit ?? .max, quota, Self.threadLimit))
  }

  private func quotaShare(sharedBy rankCount: Int) -> Int {
    guard let quota else { return Self.threadLimit }
    return max(1, Int(min(quota.processors / Double(rankCount), Double(Self.threadLimit))))
  }
}

/// The threads that OpenMP's variables ask for.
private struct OpenMPThreads {
  /// Of the outermost level: the first of a list of positive numbers; nil where there is no such list.
  let count: Int?
  /// The most; nil where there is no limit.
  let limit: Int?

  init(_ environment: [String: String]) {
    func counts(_ name: String) -> [Int]? {
      guard let text = environment[name] else { return nil }
      let counts = text.split(separator: ",", omittingEmptySubsequences: false).map {
        Int($0.trimmingCharacters(in: .whitespaces)) ?? 0
      }
      return counts.allSatisfy { $0 > 0 } ? counts : nil
    }
    count = counts("OMP_NUM_THREADS")?.first
    limit = counts("OMP_THREAD_LIMIT").flatMap { $0.count == 1 ? $0[0] : nil }
  }
}
