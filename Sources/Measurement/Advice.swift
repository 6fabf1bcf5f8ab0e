import Foundation

/// What to change, from what the ranks have found.
package struct Advice: Sendable {
  /// A line for each thing to change, the gravest first.
  package let lines: [String]

  private static let leastDiskByteCount = 10_000_000_000
  private static let leastSharedMemoryByteCount = 256_000_000
  private static let slowGigabits = 5.0
  private static let lateSeconds = 1.0

  /// Advice for a job; `ranks` and `clockOffsets` are by rank.
  package init(
    ranks: [RankFacts], links: [Diagnosis.Link], clockOffsets: [Double], uncertainty: Double
  ) {
    lines =
      Self.differences(ranks) + Self.bindings(ranks) + Self.networks(ranks, links) + Self.engines(ranks)
      + Self.space(ranks) + Self.clocks(ranks, clockOffsets, uncertainty)
  }

  private static func differences(_ ranks: [RankFacts]) -> [String] {
    let same: [(String, (RankFacts) -> String)] = [
      ("milm", \.version), ("MPI", \.mpi), ("the processor", \.processor),
      ("the engine of products", \.engine),
    ]
    return same.compactMap { what, value in
      guard let other = ranks.first(where: { value($0) != value(ranks[0]) }) else { return nil }
      return "\(what) differs: \(ranks[0].host) has \(value(ranks[0])), \(other.host) has \(value(other)); "
        + "install the same everywhere (a slower processor makes all others wait)"
    }
  }

  private static func bindings(_ ranks: [RankFacts]) -> [String] {
    var lines: [String] = []
    if let rank = ranks.indices.first(where: { isBoundToLess(ranks, $0) }) {
      let facts = ranks[rank]
      lines.append(
        "rank \(rank) (\(facts.host)) may run on \(facts.processorCount) of \(facts.hostProcessorCount) processors: "
          + "start with cluster/launch.sh, or with mpirun --bind-to none")
    }
    for host in hosts(ranks) {
      let there = ranks.filter { $0.host == host }
      let threads = there.reduce(0) { $0 + $1.threadCount }
      guard threads > there[0].hostProcessorCount else { continue }
      lines.append(
        "\(host) has \(there[0].hostProcessorCount) processors for \(threads) compute threads of \(there.count) "
          + "ranks: take fewer ranks or --threads")
    }
    return lines
  }

  /// Whether a rank has less than its share of its host's processors.
  private static func isBoundToLess(_ ranks: [RankFacts], _ rank: Int) -> Bool {
    let facts = ranks[rank]
    let sharing = ranks.count { $0.host == facts.host && $0.processorMask == facts.processorMask }
    let onHost = ranks.count { $0.host == facts.host }
    return facts.processorCount * onHost < facts.hostProcessorCount * sharing
  }

  private static func networks(_ ranks: [RankFacts], _ links: [Diagnosis.Link]) -> [String] {
    let names = hosts(ranks)
    guard names.count > 1 else { return [] }
    var lines: [String] = []
    let virtual = ["docker", "virbr", "br-", "cni", "flannel", "veth", "lxc"]
    let misleading = ranks[0].tcpInterfaces.filter { name in virtual.contains { name.hasPrefix($0) } }
    if ranks[0].transports.tcpIncluded.isEmpty, !misleading.isEmpty {
      let rest = ranks[0].tcpInterfaces.filter { !misleading.contains($0) }
      lines.append(
        "\(misleading.joined(separator: ", ")) may lead nowhere, and Open MPI tries them: "
          + "start with --interface \(rest.first ?? "10.0.0.0/24")")
    }
    let median = links.map(\.gigabitsPerSecond).sorted()[links.count / 2]
    for link in links where link.gigabitsPerSecond < median / 2 {
      lines.append(
        "the link \(link.from) – \(link.to) has \(gigabits(link)), others \(figure(median)): look at its cable and port"
      )
    }
    if median < slowGigabits {
      lines.append(
        "links have \(figure(median)) Gbit/s: leave exchange.codec at auto, or take int8; milm plan says what that costs"
      )
    }
    return lines
  }

  private static func engines(_ ranks: [RankFacts]) -> [String] {
    guard let rank = ranks.firstIndex(where: { $0.engineNote != nil }), let note = ranks[rank].engineNote
    else {
      return []
    }
    let remedy =
      note.contains("this build")
      ? "install libdnnl-dev and build again" : "set training.precision: float32, which is what is computed"
    return ["\(note) (\(ranks[rank].host)): \(remedy)"]
  }

  private static func space(_ ranks: [RankFacts]) -> [String] {
    var lines: [String] = []
    if ranks[0].diskByteCount < leastDiskByteCount {
      lines.append(
        "\(ranks[0].host) has \(ranks[0].diskByteCount / 1_000_000) MB of disk left here: a checkpoint takes 12 bytes "
          + "a parameter, and coordinator.keepLast of them are kept")
    }
    for host in hosts(ranks) {
      let there = ranks.filter { $0.host == host }
      guard there.count > 1, there[0].sharedMemoryByteCount < leastSharedMemoryByteCount else { continue }
      lines.append(
        "\(host) has \(there[0].sharedMemoryByteCount / 1_000_000) MB in /dev/shm for \(there.count) ranks: "
          + "enlarge it (containers: --shm-size, or a volume in memory)")
    }
    return lines
  }

  private static func clocks(_ ranks: [RankFacts], _ offsets: [Double], _ uncertainty: Double) -> [String] {
    guard let worst = offsets.indices.max(by: { abs(offsets[$0]) < abs(offsets[$1]) }),
      abs(offsets[worst]) > lateSeconds + uncertainty
    else { return [] }
    return [
      "the clock of \(ranks[worst].host) is \(figure(offsets[worst])) s ahead of that of \(ranks[0].host): "
        + "set up NTP, or the times in their logs cannot be compared"
    ]
  }

  /// The hosts in the order of ranks.
  private static func hosts(_ ranks: [RankFacts]) -> [String] {
    ranks.indices.filter { rank in ranks.firstIndex { $0.host == ranks[rank].host } == rank }.map {
      ranks[$0].host
    }
  }

  private static func gigabits(_ link: Diagnosis.Link) -> String {
    "\(figure(link.gigabitsPerSecond)) Gbit/s"
  }
  private static func figure(_ value: Double) -> String { String(format: "%.2f", value) }
}
