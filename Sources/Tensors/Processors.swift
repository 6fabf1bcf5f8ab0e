import Foundation

/// The processors of this machine as this process may use them.
public enum Processors {
  /// The threads for one of `rankCount` ranks on this machine: what `OMP_NUM_THREADS` says,
  /// or the processors it is bound to, or else its share of all.
  public static func threadCount(
    ranksOnHost rankCount: Int, environment: [String: String] = ProcessInfo.processInfo.environment
  ) -> Int {
    if let count = environment["OMP_NUM_THREADS"].flatMap({ Int($0) }), count > 0 { return count }
    let allowed = ProcessInfo.processInfo.activeProcessorCount
    let isBound = allowed < ProcessInfo.processInfo.processorCount
    return max(1, isBound ? allowed : allowed / rankCount)
  }
}
