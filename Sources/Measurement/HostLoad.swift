import Communication
import Platform

/// How busy the hosts of a job are with other programs, while something is measured.
package struct HostLoad: Sendable {
  private let meter = LoadMeter()

  /// Begins.
  package init() {}

  /// The processors that other programs kept busy on each rank's host, by rank; all ranks call it.
  package func otherProcessors(over communicator: any Communicator) throws -> [Double] {
    let reading = meter.reading
    let rank = communicator.rank
    var own = Array(repeating: 0.0, count: 2 * communicator.rankCount)
    own[2 * rank] = (reading.hostSeconds ?? 0) / max(reading.seconds, 1e-3)
    own[2 * rank + 1] = reading.ownSeconds / max(reading.seconds, 1e-3)
    let all = try communicator.sum("load of the hosts", own)
    var others = Array(repeating: 0.0, count: communicator.rankCount)
    for ranks in communicator.layout.nodes {
      let host = ranks.map { all[2 * $0] }.reduce(0, max)
      let job = ranks.map { all[2 * $0 + 1] }.reduce(0, +)
      for rank in ranks { others[rank] = max(0, host - job) }
    }
    return others
  }

  /// Whether this many busy processors of a host disturb measurements on it.
  package static func disturbs(_ processors: Double, of processorCount: Int) -> Bool {
    processors > max(0.2, 0.05 * Double(processorCount))
  }
}
