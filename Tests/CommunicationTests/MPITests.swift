import Foundation
import Testing

extension Tag {
  @Tag static var mpi: Self
}

/// What `mpicheck` says under `mpirun`; this process itself never calls MPI, or it could not start others.
@Suite(.tags(.mpi), .serialized, .timeLimit(.minutes(5))) struct MPITests {
  @Test(
    arguments: ["all-reduce", "rows", "flush", "residuals", "collectives", "quiet-wait", "large"], [1, 2, 3])
  func scenarioHolds(_ scenario: String, rankCount: Int) throws {
    let run = try mpirun(rankCount, scenario)
    #expect(run.status == 0, "\(run.output)")
  }

  @Test func aProcessAloneIsAJobOfOneRank() throws {
    let run = try start(try checker(), ["alone"], addingToEnvironment: [:])
    #expect(run.status == 0, "\(run.output)")
  }

  @Test func aProcessAloneFailsWithOneLine() throws {
    let run = try start(try checker(), ["all-throw"], addingToEnvironment: [:])
    #expect(run.status == 1)
    #expect(run.output == "the configuration is wrong\n")
  }

  @Test(arguments: [
    ("wrong-frame", "frame from rank 1 (HOST) at step 12, rest 1/1, reduce: step: expected 12, found 13"),
    ("crossed-operations", "rank 1 (HOST) is at 'checkpoint', rank 0 (HOST) at 'loss'"),
    ("one-throws", "rank 2: the disk is full"),
    ("stopped-rank", "for rank 1 (HOST) at step 1, rest 1/1, reduce; the limit is 1.0 s"),
    ("hash-mismatch", "at step 300: decoder.V: expected hash 0x2, rank 2 (HOST) has 0x63"),
  ]) func failureEndsTheJobAndSaysWhy(_ scenario: String, expected: String) throws {
    let run = try mpirun(3, scenario)
    #expect(run.status == 1, "\(run.output)")
    let line = expected.replacingOccurrences(of: "HOST", with: ProcessInfo.processInfo.hostName)
    #expect(run.output.contains(line), "\(run.output)")
  }

  @Test func whatAllRanksFindIsPrintedOnce() throws {
    let run = try mpirun(3, "all-throw")
    #expect(run.status == 1)
    #expect(run.output.components(separatedBy: "the configuration is wrong").count == 2, "\(run.output)")
  }
}

private struct Run {
  let status: Int32
  let output: String
}

private func mpirun(_ rankCount: Int, _ scenario: String) throws -> Run {
  try start(
    URL(fileURLWithPath: "/usr/bin/env"),
    [
      "mpirun", "--oversubscribe", "--bind-to", "none", "--timeout", "60", "-n", "\(rankCount)",
      try checker().path, scenario,
    ],
    addingToEnvironment: ["OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"])
}

/// The program lies beside the one that runs the tests.
private func checker() throws -> URL {
  try #require(Bundle.main.executableURL).deletingLastPathComponent().appendingPathComponent("mpicheck")
}

private func start(
  _ program: URL, _ arguments: [String], addingToEnvironment added: [String: String]
) throws -> Run {
  let process = Process()
  let pipe = Pipe()
  process.executableURL = program
  process.arguments = arguments
  process.environment = ProcessInfo.processInfo.environment.merging(added) { $1 }
  process.standardOutput = pipe
  process.standardError = pipe
  try process.run()
  let output = pipe.fileHandleForReading.readDataToEndOfFile()
  process.waitUntilExit()
  return Run(status: process.terminationStatus, output: String(decoding: output, as: UTF8.self))
}
