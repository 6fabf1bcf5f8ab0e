import Foundation
import Layers

/// Recommended changes, from the facts of all ranks.
package struct Advice: Sendable {
  /// One line for each problem, the most severe first.
  package let lines: [String]

  private static let leastDiskByteCount = 10_000_000_000
  private static let leastSharedMemoryByteCount = 256_000_000
  private static let slowGigabits = 5.0
  private static let toleratedClockOffset = 1.0

  /// Advice for a job; `ranks` and `clockOffsets` are indexed by rank.
  package init(
    ranks: [RankFacts], links: [Diagnosis.Link], clockOffsets: [Double], uncertainty: Double
  ) {
    lines =
      Self.loads(ranks) + Self.differences(ranks) + Self.bindings(ranks) + Self.networks(ranks, links)
      + Self.engines(ranks)
      + Self.space(ranks) + Self.clocks(ranks, clockOffsets, uncertainty)
  }

  private static func loads(_ ranks: [RankFacts]) -> [String] {
    hosts(ranks).compactMap { local in
      let facts = local[0]
      guard HostLoad.disturbs(facts.otherLoad, of: facts.hostProcessorCount) else { return nil }
      return "other programs keep \(figure(facts.otherLoad)) of \(facts.hostProcessorCount) processors of "
        + "\(facts.host) busy: until they end, training is slower and every figure of doctor, plan and benchmark is off"
    }
  }

  private static func differences(_ ranks: [RankFacts]) -> [String] {
    let same: [(String, (RankFacts) -> String)] = [
      ("milm", \.version), ("MPI", \.mpi), ("the processor", \.processor),
      ("the engine of products", \.engine),
    ]
    return same.compactMap { what, value in
      guard let other = ranks.first(where: { value($0) != value(ranks[0]) }) else { return nil }
      return "\(what) differs: \(ranks[0].host) has \(value(ranks[0])), \(other.host) has \(value(other)); "
        + "use the same on all hosts (the slowest processor determines the speed)"
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
    for local in hosts(ranks) {
      let threads = local.reduce(0) { $0 + $1.threadCount }
      let host = local[0].host
      if let quota = local.compactMap(\.processorQuota).min(), quota < Double(local[0].processorCount) {
        lines.append(
          "the container or job on \(host) may use the time of \(figure(quota)) of \(local[0].processorCount) "
            + "processors, for \(threads) compute threads: raise its CPU quota, or expect to wait for it")
      } else if threads > local[0].hostProcessorCount {
        lines.append(
          "\(host) has \(local[0].hostProcessorCount) processors for \(threads) compute threads of \(local.count) "
            + "ranks: start fewer ranks or set training.threads")
      }
    }
    return lines
  }

  /// Whether a rank is bound to fewer processors than its share of the host's.
  private static func isBoundToLess(_ ranks: [RankFacts], _ rank: Int) -> Bool {
    let facts = ranks[rank]
    let sharing = ranks.count { $0.node == facts.node && $0.processorMask == facts.processorMask }
    let onHost = ranks.count { $0.node == facts.node }
    return facts.processorCount * onHost < facts.hostProcessorCount * sharing
  }

  private static func networks(_ ranks: [RankFacts], _ links: [Diagnosis.Link]) -> [String] {
    guard hosts(ranks).count > 1 else { return [] }
    var lines: [String] = []
    let virtual = ["docker", "virbr", "br-", "cni", "flannel", "veth", "lxc"]
    let misleading = ranks[0].tcpInterfaces.filter { name in virtual.contains { name.hasPrefix($0) } }
    if ranks[0].transports.tcpIncluded.isEmpty, !misleading.isEmpty {
      let rest = ranks[0].tcpInterfaces.filter { !misleading.contains($0) }
      lines.append(
        "\(misleading.joined(separator: ", ")) may not reach the other hosts, and Open MPI tries them: "
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
        "links have \(figure(median)) Gbit/s: set exchange.codec: auto or int8; milm plan predicts the cost"
      )
    }
    return lines
  }

  private static func engines(_ ranks: [RankFacts]) -> [String] {
    let slow = ranks.lazy.compactMap { facts in openBLASCore(for: facts).map { (facts, $0) } }.first
    let lines = slow.map { facts, core in
      "OpenBLAS does not know \(facts.processor) (\(facts.host)) and takes kernels of \(facts.openBLASCore): start with "
        + "cluster/launch.sh on one host, or set OPENBLAS_CORETYPE=\(core) in the environment of all ranks"
    }
    return (lines.map { [$0] } ?? []) + precisions(ranks)
  }

  /// Kernels that OpenBLAS has for the instructions of a processor that is newer than itself; nil where it has chosen some
  /// that use them.
  private static func openBLASCore(for facts: RankFacts) -> String? {
    let withoutAVX = ["Prescott", "Core2", "Penryn", "Dunnington", "Nehalem", "Barcelona"]
    guard facts.usesOpenBLAS, withoutAVX.contains(facts.openBLASCore) else { return nil }
    // As in cluster/launchers.sh. All processors with the second have the other AVX-512 instructions of these kernels.
    return facts.instructionSets.contains("avx512_vnni")
      ? "SkylakeX" : facts.instructionSets.contains("avx2") ? "Haswell" : nil
  }

  private static func precisions(_ ranks: [RankFacts]) -> [String] {
    guard let rank = ranks.firstIndex(where: { $0.engineNote != nil }), let note = ranks[rank].engineNote
    else {
      return []
    }
    let remedy =
      ranks[rank].hasOneDNN
      ? "set training.precision: float32, which is what is computed" : "install libdnnl-dev and build again"
    return ["\(note) (\(ranks[rank].host)): \(remedy)"]
  }

  private static func space(_ ranks: [RankFacts]) -> [String] {
    var lines: [String] = []
    if ranks[0].diskByteCount < leastDiskByteCount {
      let sizes = OptimizerConfiguration.Kind.allCases.map {
        "\($0.checkpointByteCountPerParameter) (\($0.rawValue))"
      }
      lines.append(
        "\(ranks[0].host) has \(ranks[0].diskByteCount / 1_000_000) MB of free disk here: a checkpoint takes "
          + "\(sizes.joined(separator: " or ")) bytes per parameter, and coordinator.keepLast of them are kept"
      )
    }
    for local in hosts(ranks) {
      guard local.count > 1, local[0].sharedMemoryByteCount < leastSharedMemoryByteCount else { continue }
      lines.append(
        "\(local[0].host) has \(local[0].sharedMemoryByteCount / 1_000_000) MB in /dev/shm for \(local.count) ranks: "
          + "enlarge it (containers: --shm-size, or a volume in memory)")
    }
    return lines
  }

  private static func clocks(_ ranks: [RankFacts], _ offsets: [Double], _ uncertainty: Double) -> [String] {
    guard let worst = offsets.indices.max(by: { abs(offsets[$0]) < abs(offsets[$1]) }),
      abs(offsets[worst]) > toleratedClockOffset + uncertainty
    else { return [] }
    return [
      "the clock of \(ranks[worst].host) is \(figure(offsets[worst])) s ahead of that of \(ranks[0].host): "
        + "set up NTP, or the times in their logs cannot be compared"
    ]
  }

  /// The ranks of each host, in rank order.
  private static func hosts(_ ranks: [RankFacts]) -> [[RankFacts]] {
    Dictionary(grouping: ranks, by: \.node).sorted { $0.key < $1.key }.map(\.value)
  }

  private static func gigabits(_ link: Diagnosis.Link) -> String {
    "\(figure(link.gigabitsPerSecond)) Gbit/s"
  }
  private static func figure(_ value: Double) -> String { String(format: "%.2f", value) }
}
