import Communication
import Foundation
import Platform
import Tensors

/// The facts and links of all ranks of a job, with advice.
package struct Diagnosis: Encodable, Sendable {
  /// A link between two hosts.
  package struct Link: Encodable, Sendable, Equatable {
    /// One end.
    package let from: String
    /// The other.
    package let to: String
    /// Seconds of an exchange of a few bytes.
    package let latencySeconds: Double
    /// Gbit/s in each direction at the same time.
    package let gigabitsPerSecond: Double

    /// A measured link.
    package init(from: String, to: String, latencySeconds: Double, gigabitsPerSecond: Double) {
      self.from = from
      self.to = to
      self.latencySeconds = latencySeconds
      self.gigabitsPerSecond = gigabitsPerSecond
    }
  }

  package let ranks: [RankFacts]
  /// Links between neighboring hosts, in rank order.
  package let links: [Link]
  /// Clock offset of each rank against rank 0, in seconds.
  package let clockOffsets: [Double]
  /// Uncertainty of the offsets in seconds.
  package let clockUncertainty: Double
  /// Recommended changes, one line each.
  package let advice: [String]

  /// Duration of the measurement of the load of hosts: ranks do nothing meanwhile.
  private static let loadMicroseconds: useconds_t = 400_000
  /// Duration of the measurement of a round of links.
  private static let linkSeconds = 0.3

  /// Gathers the facts of all ranks, which all call it and get the same.
  package init(_ own: RankFacts, communicator: any Communicator) throws {
    var own = own
    own.node = communicator.layout.node(of: communicator.rank)
    own.threadCount = try communicator.hostShare().threadCount
    let load = HostLoad()
    usleep(Self.loadMicroseconds)
    own.otherLoad = try load.otherProcessors(over: communicator)[communicator.rank]
    let blobs = try communicator.allGather("facts", Array(try JSONEncoder().encode(own)))
    let ranks = try blobs.map { try JSONDecoder().decode(RankFacts.self, from: Data($0)) }
    let clocks = try Self.compareClocks(communicator)
    let links = try Self.measureLinks(communicator)
    self.ranks = ranks
    self.links = links
    clockOffsets = clocks.offsets
    clockUncertainty = clocks.uncertainty
    advice =
      Advice(ranks: ranks, links: links, clockOffsets: clocks.offsets, uncertainty: clocks.uncertainty).lines
  }

  /// Clock offsets against rank 0 and their uncertainty, in seconds.
  private static func compareClocks(
    _ communicator: any Communicator
  ) throws -> (offsets: [Double], uncertainty: Double) {
    let own = try ClockOffset.measure(over: communicator) {
      var time = timespec()
      clock_gettime(CLOCK_REALTIME, &time)
      return time.tv_sec * 1_000_000_000 + time.tv_nsec
    }
    let seconds = -1e-9 * Double(own.nanoseconds)
    let offsets = try communicator.sum(
      "clocks", (0..<communicator.rankCount).map { $0 == communicator.rank ? seconds : 0 })
    let largest = try communicator.maximum("error of clocks", UInt64(own.errorNanoseconds))
    return (offsets, 1e-9 * Double(largest))
  }

  /// Measures neighbors pairwise in two rounds, so that the time does not depend on the number of hosts.
  private static func measureLinks(_ communicator: any Communicator) throws -> [Link] {
    let names = communicator.hostNames
    let first = communicator.layout.nodes.map { $0[0] }
    var measured: [Double] = Array(repeating: 0, count: 2 * max(first.count - 1, 0))
    for round in 0..<2 {
      for number in stride(from: round, to: first.count - 1, by: 2) {
        let pair = [first[number], first[number + 1]]
        guard let place = pair.firstIndex(of: communicator.rank) else { continue }
        let link = try communicator.measureLink(with: pair, seconds: linkSeconds)
        // The measurement of one end is enough.
        guard place == 0 else { continue }
        measured[2 * number] = link.latencySeconds
        measured[2 * number + 1] = link.bytesPerSecond
      }
      try communicator.barrier("links are measured")
    }
    let all = try communicator.sum("links", measured)
    return (0..<max(first.count - 1, 0)).map { number in
      Link(
        from: names[first[number]], to: names[first[number + 1]], latencySeconds: all[2 * number],
        gigabitsPerSecond: all[2 * number + 1] * 8e-9)
    }
  }
}
