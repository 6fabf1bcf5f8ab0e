import Foundation
import TestSupport
import Testing

extension Tag {
  @Tag static var mpi: Self
}

/// What `mpicheck` says under `mpirun`; this process itself never calls MPI, or it could not start others.
@Suite(.tags(.mpi), .serialized, .timeLimit(.minutes(5))) struct MPITests {
  @Test(
    arguments: ["all-reduce", "rows", "flush", "residuals", "collectives", "quiet-wait", "large"], [1, 2, 3])
  func scenarioHolds(_ scenario: String, rankCount: Int) throws {
    let run = try mpirun(rankCount, [program("mpicheck"), scenario])
    #expect(run.status == 0, "\(run.transcript)")
  }

  @Test func aProcessAloneIsAJobOfOneRank() throws {
    let run = try start([program("mpicheck"), "alone"])
    #expect(run.status == 0, "\(run.transcript)")
  }

  @Test func aProcessAloneFailsWithOneLine() throws {
    let run = try start([program("mpicheck"), "all-throw"])
    #expect(run.status == 1)
    #expect(run.output + run.errors == "the configuration is wrong\n")
  }

  @Test(arguments: [
    ("wrong-frame", "frame from rank 1 (HOST) at step 12, rest 1/1, reduce: step: expected 12, found 13"),
    ("crossed-operations", "rank 1 (HOST) is at 'checkpoint', rank 0 (HOST) at 'loss'"),
    ("one-throws", "rank 2: the disk is full"),
    ("stopped-rank", "for rank 1 (HOST) at step 1, rest 1/1, reduce; the limit is 1.0 s"),
    ("hash-mismatch", "at step 300: decoder.V: expected hash 0x2, rank 2 (HOST) has 0x63"),
  ]) func failureEndsTheJobAndSaysWhy(_ scenario: String, expected: String) throws {
    let run = try mpirun(3, [program("mpicheck"), scenario])
    #expect(run.status == 1, "\(run.transcript)")
    let line = expected.replacingOccurrences(of: "HOST", with: ProcessInfo.processInfo.hostName)
    #expect(run.transcript.contains(line), "\(run.transcript)")
  }

  @Test func whatAllRanksFindIsPrintedOnce() throws {
    let run = try mpirun(3, [program("mpicheck"), "all-throw"])
    #expect(run.status == 1)
    #expect(
      run.transcript.components(separatedBy: "the configuration is wrong").count == 2, "\(run.transcript)")
  }
}
