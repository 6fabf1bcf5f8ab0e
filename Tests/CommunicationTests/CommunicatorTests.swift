import Communication
import Platform
import TestSupport
import Testing

@Suite(.timeLimit(.minutes(5))) struct CommunicatorTests {
  @Test(arguments: 1...4) func collectivesGiveAllRanksTheSame(rankCount: Int) throws {
    _ = try onLocalRanks(rankCount) { communicator, _ in
      let rank = communicator.rank
      let gathered = try communicator.allGather("bytes", Array(repeating: UInt8(rank), count: rank))
      #expect(gathered == (0..<rankCount).map { Array(repeating: UInt8($0), count: $0) })
      #expect(try communicator.broadcast("text", rank == 0 ? [1, 2, 3] : [9], from: 0) == [1, 2, 3])
      #expect(
        try communicator.sum("values", [Double(rank), 0.5]) == [
          Double(rankCount * (rankCount - 1) / 2), 0.5 * Double(rankCount),
        ])
      #expect(try communicator.minimum("least", UInt64(rank) + 5) == 5)
      #expect(try communicator.maximum("most", UInt64(rank)) == UInt64(rankCount - 1))
    }
  }

  @Test func hostsOfTheSameNameAreNumbered() {
    let layout = NodeLayout(nodeOfRank: [0, 1, 0, 2])
    #expect(
      layout.displayNames(["node", "node", "node", "other"]) == ["node#1", "node#2", "node#1", "other"])
    #expect(NodeLayout(nodeOfRank: [0, 0]).displayNames(["node", "node"]) == ["node", "node"])
  }

  /// Ranks are on one host where they share memory, whatever its name is.
  @Test func ranksThatShareMemoryShareTheirHost() throws {
    let shares = try onLocalRanks(4, ranksPerNode: 2) { communicator, _ in try communicator.hostShare() }
    for (rank, share) in shares.enumerated() {
      #expect(share.threadCount == Processors.allowed.threadCount(sharedBy: 2), "rank \(rank)")
      #expect(share.memory.map { $0.rankCount == 2 } ?? true, "rank \(rank)")
    }
  }

  @Test func ranksInDifferentOperationsNameBoth() {
    let error = #expect(throws: MilmError.self) {
      try onLocalRanks(2) { communicator, _ in
        try communicator.barrier(communicator.rank == 0 ? "checkpoint" : "evaluation")
      }
    }
    #expect(
      error?.description.contains("'checkpoint'") == true
        && error?.description.contains("'evaluation'") == true)
  }

  @Test(arguments: [0, 1, 2]) func aReplicaThatDiffersIsNamed(odd: Int) {
    let error = #expect(throws: MilmError.self) {
      try onLocalRanks(3) { communicator, _ in
        let hash: UInt64 = communicator.rank == odd ? 0xbad : 0x600d
        try communicator.verifyReplicas(hashes: [("a", 1), ("b", hash)], step: 40)
      }
    }
    #expect(
      error?.description == "parameters differ between ranks at step 40: b: expected hash 000000000000600d, "
        + "rank \(odd) (local-\(odd)) has 0000000000000bad")
  }

  @Test(arguments: 1...4, [1, 2]) func splitRanksExchangeApart(rankCount: Int, ranksPerNode: Int) throws {
    _ = try onLocalRanks(rankCount, ranksPerNode: ranksPerNode) { communicator, _ in
      let rank = communicator.rank
      let members = (0..<rankCount).filter { $0 % 2 == rank % 2 }
      let subset = try communicator.split(color: rank % 2)
      #expect(members[subset.rank] == rank && subset.rankCount == members.count)
      #expect(subset.jobRanks == members && subset.hostNames == members.map { "local-\($0)" })
      #expect(subset.layout == NodeLayout(nodeOfRank: members.map { $0 / ranksPerNode }))
      // The same operation on both: messages that mix would be taken for each other.
      for round in 0..<3 {
        let value = UInt64(10 * rank + round)
        #expect(
          try subset.allGather("values", value.bytes) == members.map { UInt64(10 * $0 + round).bytes })
        #expect(
          try communicator.allGather("values", value.bytes)
            == (0..<rankCount).map { UInt64(10 * $0 + round).bytes })
      }
      let single = try subset.split(color: subset.rank)
      #expect(single.rankCount == 1 && single.jobRanks == [rank])
      #expect(try single.sum("alone", [2]) == [2])
    }
  }

  @Test func aRankThatIsMissingInASubsetIsNamedByItsNumberInTheJob() {
    let limits = StallLimits(warnSeconds: 0.1, abortSeconds: 0.5) { _ in }
    let error = #expect(throws: MilmError.self) {
      try onLocalRanks(4) { communicator, _ in
        let subset = try communicator.split(color: communicator.rank % 2)
        if communicator.rank != 3 { try subset.barrier("epoch", limits: limits) }
      }
    }
    #expect(error?.description.contains("rank 1 (local-1) has waited") == true, "\(error as Any)")
    #expect(error?.description.contains("at 'epoch' for rank 3 (local-3)") == true, "\(error as Any)")
  }

  @Test func anAbortInASubsetEndsAllRanks() {
    #expect(throws: (any Error).self) {
      try onLocalRanks(4) { communicator, _ in
        let subset = try communicator.split(color: communicator.rank % 2)
        if communicator.rank == 3 { subset.abort("broken") } else { try communicator.barrier("end") }
      }
    }
  }

  @Test func jobsRunInOrderOnOneThread() throws {
    let thread = try CommunicationThread()
    let log = Log()
    for number in 0..<100 { thread.submit { log.append(number) } }
    #expect(try thread.run { log.numbers } == Array(0..<100))
    #expect(throws: CancellationError.self) { try thread.run { throw CancellationError() } }
  }
}

/// Numbers appended by jobs.
///
/// `@unchecked Sendable`: the communication thread alone touches it.
private final class Log: @unchecked Sendable {
  private(set) var numbers: [Int] = []
  func append(_ number: Int) { numbers.append(number) }
}

extension UInt64 {
  fileprivate var bytes: [UInt8] { (0..<8).map { UInt8(truncatingIfNeeded: self >> (8 * $0)) } }
}
