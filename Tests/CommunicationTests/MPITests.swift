import Foundation
import TestSupport
import Testing

extension Tag {
  @Tag static var mpi: Self
}

/// Scenarios of `RankProgram` under `mpirun`; this process never calls MPI, or it could not start `mpirun`.
@Suite(.tags(.mpi), .serialized, .timeLimit(.minutes(5))) struct MPITests {
  @Test(
    arguments: ["all-reduce", "rows", "flush", "residuals", "collectives", "quiet-wait", "large"],
    [1, 2, 3, 5])
  func scenarioHolds(_ scenario: String, rankCount: Int) throws {
    let run = try mpirun(rankCount, [program("RankProgram"), scenario])
    #expect(run.status == 0, "\(run.transcript)")
  }

  @Test(arguments: [(1, 1), (2, 1), (3, 1), (4, 1), (4, 2), (4, 4)])
  func splitCommunicatorsExchangeApart(_ shape: (rankCount: Int, ranksPerNode: Int)) throws {
    let run = try mpirun(shape.rankCount, [program("RankProgram"), "split", "\(shape.ranksPerNode)"])
    #expect(run.status == 0, "\(run.transcript)")
  }

  /// Two nodes of two ranks, unequal nodes, and one node alone.
  @Test(arguments: ["all-reduce", "rows", "flush", "residuals"], [(4, 2), (5, 3), (3, 3)])
  func scenarioHoldsOnNodes(_ scenario: String, _ shape: (rankCount: Int, ranksPerNode: Int)) throws {
    let run = try mpirun(shape.rankCount, [program("RankProgram"), scenario, "\(shape.ranksPerNode)"])
    #expect(run.status == 0, "\(run.transcript)")
  }

  @Test func aFlippedBitOfAnyMessageIsFound() throws {
    let run = try mpirun(2, [program("RankProgram"), "corrupted-messages"])
    #expect(run.status == 0, "\(run.transcript)")
    for kind in CollectiveOperation.all.flatMap(\.kinds) {
      #expect(run.output.contains("found: \(kind)\n"), "\(run.transcript)")
    }
  }

  @Test func aProcessAloneIsAJobOfOneRank() throws {
    let run = try start([program("RankProgram"), "alone"])
    #expect(run.status == 0, "\(run.transcript)")
  }

  @Test func aProcessAloneFailsWithOneLine() throws {
    let run = try start([program("RankProgram"), "all-throw"])
    #expect(run.status == 1)
    #expect(run.output + run.errors == "the configuration is wrong\n")
  }

  @Test(arguments: [
    ("wrong-frame", "frame from rank 1 (HOST) at step 12, rest 1/1, reduce: step: expected 12, found 13"),
    ("crossed-operations", "rank 1 (HOST) is at 'checkpoint', rank 0 (HOST) at 'loss'"),
    ("one-throws", "rank 2: the disk is full"),
    ("stopped-rank", "s without progress at step 1, rest 1/1, reduce for rank 1 (HOST), last known at "),
    (
      "hash-mismatch",
      "at step 300: decoder.V: expected hash 0000000000000002, rank 2 (HOST) has 0000000000000063"
    ),
  ]) func failureEndsTheJobAndSaysWhy(_ scenario: String, expected: String) throws {
    let run = try mpirun(3, [program("RankProgram"), scenario])
    #expect(run.status == 1, "\(run.transcript)")
    let line = expected.replacingOccurrences(of: "HOST", with: ProcessInfo.processInfo.hostName)
    #expect(run.transcript.contains(line), "\(run.transcript)")
  }

  /// The limit is 3 s; a stopped process sends no heartbeat, whatever the others are doing.
  @Test(arguments: [
    ("stopped-in-control", "at 'checkpoint'"), ("stopped-in-subset", "at 'checkpoint of the odd ranks'"),
    ("stopped-in-broadcast", "at 'settings'"),
    ("stopped-on-node", "at step 3, table 1/1, node"),
  ]) func aStoppedRankEndsTheJobAndItsLastStateIsKnown(_ scenario: String, operation: String) throws {
    let run = try mpirun(4, [program("RankProgram"), scenario, "4"])
    #expect(run.status == 1, "\(run.transcript)")
    let state =
      "for rank 1 (\(ProcessInfo.processInfo.hostName)), last known at step 7: forward and backward for"
    #expect(run.transcript.contains(operation), "\(run.transcript)")
    #expect(run.transcript.contains(state), "\(run.transcript)")
    #expect(run.transcript.contains("without a heartbeat; the limit is 3.0 s"), "\(run.transcript)")
  }

  @Test func aRankWithAHeartbeatMayBeSlow() throws {
    let run = try mpirun(2, [program("RankProgram"), "slow-disk"])
    #expect(run.status == 0, "\(run.transcript)")
    #expect(run.transcript.contains("last known at writing a checkpoint for"), "\(run.transcript)")
  }

  @Test func aLongEvaluationIsNoStall() throws {
    let run = try mpirun(3, [program("RankProgram"), "long-evaluation"])
    #expect(run.status == 0 && !run.transcript.contains("without progress"), "\(run.transcript)")
  }

  @Test func aKilledRankEndsTheJobAtOnce() throws {
    let start = ContinuousClock.now
    let run = try mpirun(3, [program("RankProgram"), "killed-rank"])
    #expect(run.status != 0)
    #expect(ContinuousClock.now - start < .seconds(30))
  }

  @Test func anErrorOfAllRanksIsPrintedOnce() throws {
    let run = try mpirun(3, [program("RankProgram"), "all-throw"])
    #expect(run.status == 1)
    #expect(
      run.transcript.components(separatedBy: "the configuration is wrong").count == 2, "\(run.transcript)")
  }
}
