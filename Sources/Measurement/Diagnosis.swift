import Communication
import Foundation
import Platform
import Tensors

/// What all ranks of a job have found, and what to change.
package struct Diagnosis: Encodable, Sendable {
  /// A link between two hosts.
  package struct Link: Encodable, Sendable, Equatable {
    /// One end.
    package let from: String
    /// The other.
    package let to: String
    /// Seconds of an exchange of almost nothing.
    package let latencySeconds: Double
    /// Gbit/s each way at the same time.
    package let gigabitsPerSecond: Double

    /// A link as it was measured.
    package init(from: String, to: String, latencySeconds: Double, gigabitsPerSecond: Double) {
      self.from = from
      self.to = to
      self.latencySeconds = latencySeconds
      self.gigabitsPerSecond = gigabitsPerSecond
    }
  }

  /// A rank's facts, by rank.
  package let ranks: [RankFacts]
  /// Links of neighbouring hosts, in the order of ranks.
  package let links: [Link]
  /// How far each rank's clock is ahead of rank 0's, in seconds.
  package let clockOffsets: [Double]
  /// By how much that may be wrong, in seconds.
  package let clockUncertainty: Double
  /// What to change, a line each; empty where nothing is to be changed.
  package let advice: [String]

  /// How long the links of a round are measured.
  private static let linkSeconds = 0.3

  /// Puts together what all ranks find; all call it, and all get the same.
  package init(_ own: RankFacts, communicator: any Communicator) throws {
    let blobs = try communicator.allGather("facts", Array(try JSONEncoder().encode(own)))
    var ranks = try blobs.map { try JSONDecoder().decode(RankFacts.self, from: Data($0)) }
    for index in ranks.indices {
      let facts = ranks[index]
      let sharing = ranks.count { $0.host == facts.host && $0.processorMask == facts.processorMask }
      ranks[index].threadCount = Processors(mask: facts.processorMask).threadCount(sharedBy: sharing)
    }
    let clocks = try Self.compareClocks(communicator)
    let links = try Self.measureLinks(communicator)
    self.ranks = ranks
    self.links = links
    clockOffsets = clocks.offsets
    clockUncertainty = clocks.uncertainty
    advice =
      Advice(ranks: ranks, links: links, clockOffsets: clocks.offsets, uncertainty: clocks.uncertainty).lines
  }

  /// How far every rank's clock is ahead of rank 0's, and by how much that may be wrong, in seconds.
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

  /// Neighbours by pairs in two rounds, so that the time does not depend on the number of hosts.
  private static func measureLinks(_ communicator: any Communicator) throws -> [Link] {
    let names = communicator.hostNames
    let first = names.indices.filter { names.firstIndex(of: names[$0]) == $0 }
    var measured: [Double] = Array(repeating: 0, count: 2 * max(first.count - 1, 0))
    for round in 0..<2 {
      for number in stride(from: round, to: first.count - 1, by: 2) {
        let pair = [first[number], first[number + 1]]
        guard let place = pair.firstIndex(of: communicator.rank) else { continue }
        let link = try communicator.measureLink(with: pair, seconds: linkSeconds)
        // One end's figures are enough.
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
