import Foundation

/// The processors of this machine as this process may use them.
public enum Processors {
  /// The threads for one of `rankCount` ranks on this machine: the processors it is bound to, or else its share of all.
  public static func threadCount(ranksOnHost rankCount: Int) -> Int {
    let allowed = ProcessInfo.processInfo.activeProcessorCount
    let isBound = allowed < ProcessInfo.processInfo.processorCount
    return max(1, isBound ? allowed : allowed / rankCount)
  }
}
