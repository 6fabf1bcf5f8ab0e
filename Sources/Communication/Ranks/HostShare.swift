import Platform

/// A rank's share of its host's processors and memory.
package struct HostShare: Sendable {
  /// The default number of compute threads.
  package let threadCount: Int
  /// The memory that its ranks can still allocate; nil if the kernel does not say.
  package let memory: Memory?

  /// Memory that several ranks share.
  package struct Memory: Sendable, Equatable {
    /// The bytes available to all of these ranks.
    package let byteCount: Int
    package let rankCount: Int
    /// Owner of the memory, as in "this host".
    package let owner: String

    /// Memory that `rankCount` ranks share equally.
    package init(byteCount: Int, rankCount: Int, owner: String) {
      self.byteCount = byteCount
      self.rankCount = rankCount
      self.owner = owner
    }

    /// Each rank's part.
    package var byteCountPerRank: Int { byteCount / rankCount }
  }
}

extension Communicator {
  /// Whether two ranks are on the same host, which means that they share memory: hosts may have the same name.
  package func isSameHost(_ rank: Int, _ other: Int) -> Bool {
    layout.node(of: rank) == layout.node(of: other)
  }

  /// This rank's share of its host; all ranks call it.
  package func hostShare() throws -> HostShare {
    let (processors, memory) = (Processors.allowed, ControlGroups().memory)
    // What ranks of a host share if they name the same: processors, and the groups that limit time and memory.
    let names = [processors.mask, processors.quota?.identity ?? "", memory?.identity ?? ""]
    let all = try allGather("share of the host", Array(names.joined(separator: "\n").utf8)).map {
      String(decoding: $0, as: UTF8.self).split(separator: "\n", omittingEmptySubsequences: false)
    }
    func sharing(_ index: Int) -> Int {
      all.indices.count { isSameHost($0, rank) && all[$0].count > index && all[$0][index] == names[index] }
    }
    let host = Host.availableByteCount.map {
      HostShare.Memory(
        byteCount: $0, rankCount: layout.nodes[layout.node(of: rank)].count, owner: "this host")
    }
    let group = memory.map {
      HostShare.Memory(
        byteCount: $0.availableByteCount, rankCount: sharing(2),
        owner: "control group \($0.directory), limited to \(($0.limitByteCount + 500_000) / 1_000_000) MB,")
    }
    let threadCount = processors.threadCount(sharedBy: sharing(0), quotaSharedBy: sharing(1))
    let own = ProcessLimits.narrowest(threadCount: threadCount).map {
      HostShare.Memory(byteCount: $0.availableByteCount, rankCount: 1, owner: $0.description)
    }
    return HostShare(
      threadCount: threadCount,
      memory: [host, group, own].compactMap { $0 }.min { $0.byteCountPerRank < $1.byteCountPerRank })
  }
}
