import Foundation
import TestSupport
import Testing

/// `cluster/supervise.sh`: failed jobs are restarted.
@Suite(.tags(.mpi), .serialized, .timeLimit(.minutes(3))) struct SupervisionTests {
  private func supervise(
    _ bench: CommandBench, _ options: [String], _ more: [String], environment: [String: String] = [:]
  ) throws -> RunningProgram {
    try RunningProgram(
      [repositoryFolder.appendingPathComponent("cluster/supervise.sh").path] + options + [
        "--", "train", bench.configuration, "--corpus", bench.corpus, "--output",
        bench.folder.file("run"),
      ] + more,
      environment: mpirunEnvironment.merging(["MILM": program("milm")]) { $1 }.merging(environment) { $1 })
  }

  /// The fault recurs at every start until there is a checkpoint of its step.
  @Test func aFailedJobContinuesFromItsLastCheckpoint() throws {
    let bench = try CommandBench()
    let run = try supervise(
      bench, ["--restarts", "2", "--back-off", "0", "-n", "2", "--threads", "1"], ["--fault", "die:link:0:8"]
    ).wait()
    #expect(run.status == 0, "\(run.transcript)")
    #expect(run.errors.contains("supervise: start 1 of at most 3: 2 ranks"))
    #expect(run.errors.contains("supervise: the job has ended with status 137"))
    #expect(run.errors.contains("supervise: restart 1 of 2 in 0 s"))
    #expect(try bench.lastStep("run") == 12)
  }

  @Test func theNumberOfRestartsIsLimited() throws {
    let bench = try CommandBench()
    let run = try supervise(
      bench, ["--restarts", "1", "--back-off", "0", "-n", "1", "--threads", "1"], ["--fault", "die:step:0:2"]
    ).wait()
    #expect(run.status == 137, "\(run.transcript)")
    #expect(run.errors.components(separatedBy: "supervise: the job has ended with status 137").count == 3)
    #expect(run.errors.contains("supervise: given up after 1 restarts; continue with: "))
  }

  /// Without the unreachable host there are slots for 4 of 6 ranks, and 3 ranks divide the 6 lanes.
  @Test func unreachableHostsAreExcluded() throws {
    let bench = try CommandBench()
    let probe = try bench.folder.write("#!/bin/sh\n[ \"$1\" = localhost ]\n", to: "probe").path
    chmod(probe, 0o755)
    let run = try supervise(
      bench, ["--restarts", "0", "-n", "6", "--host", "localhost:4,no-such-host:2"], [],
      environment: ["MILM_PROBE": probe]
    ).wait()
    #expect(run.status == 0, "\(run.transcript)")
    #expect(run.errors.contains("host no-such-host does not answer"))
    #expect(run.errors.contains("start 1 of at most 1: 3 ranks on localhost:4"))
  }

  /// The log of a job that fails at once, each time as `mpirun` does, without waiting: the pauses are in the log.
  private func pauses(_ bench: CommandBench, restarts: Int, mpirun: String) throws -> [Int] {
    for (name, text) in [
      ("mpirun", mpirun), ("sleep", "case $1 in 0.*) exec /bin/sleep \"$1\" ;; esac"),
    ] {
      try bench.folder.write("#!/bin/bash\n\(text)\n", to: "bin/\(name)")
      chmod(bench.folder.file("bin/\(name)"), 0o755)
    }
    let path = ProcessInfo.processInfo.environment["PATH"] ?? ""
    let run = try supervise(
      bench, ["--restarts", "\(restarts)", "-n", "1"], [],
      environment: ["PATH": "\(bench.folder.file("bin")):\(path)"]
    ).wait()
    #expect(run.status == 1, "\(run.transcript)")
    return run.errors.matches(of: /restart \d+ of \d+ in (\d+) s/).compactMap { Int($0.1) }
  }

  @Test func thePauseDoublesUpToACap() throws {
    let bench = try CommandBench()
    try FileManager.default.createDirectory(
      atPath: bench.folder.file("bin"), withIntermediateDirectories: false)
    let pauses = try pauses(bench, restarts: 9, mpirun: "exit 1")
    #expect(pauses == [10, 20, 40, 80, 160, 320, 600, 600, 600])
  }

  /// The third and the fifth job complete a checkpoint.
  @Test func progressResetsThePause() throws {
    let bench = try CommandBench()
    try FileManager.default.createDirectory(
      atPath: bench.folder.file("bin"), withIntermediateDirectories: false)
    let mpirun = """
      echo >>"$0.count"
      count=$(wc -l <"$0.count")
      case $count in 3 | 5) mkdir -p "\(bench.folder.file("run"))/checkpoints/step-0000000$count" ;; esac
      exit 1
      """
    #expect(try pauses(bench, restarts: 7, mpirun: mpirun) == [10, 20, 10, 20, 10, 20, 40])
  }

  /// The job stops with a checkpoint, and nothing starts it again.
  @Test func aKilledSupervisorTakesItsJobAlong() throws {
    let bench = try CommandBench()
    let job = try supervise(
      bench, ["--restarts", "5", "-n", "2", "--threads", "1"],
      ["--set", "training.steps=10000000", "--set", "coordinator.reportEvery=1000"])
    #expect(job.says("checkpoint written"))
    kill(job.processID, SIGKILL)
    // The pipe of its output ends with the last of the ranks.
    let run = job.wait()
    #expect(run.status == SIGKILL && !run.errors.contains("supervise: restart"), "\(run.errors.suffix(2000))")
    let step = try #require(run.errors.firstMatch(of: /milm: interrupted at step (\d+); continue with/))
    #expect(try bench.lastStep("run") == Int(step.1))
  }

  @Test func aSignalInterruptsTheJobWithoutARestart() throws {
    let bench = try CommandBench()
    let job = try supervise(
      bench, ["--restarts", "5", "-n", "2", "--threads", "1"],
      ["--set", "training.steps=10000000", "--set", "coordinator.reportEvery=1000"])
    #expect(job.says("checkpoint written"))
    kill(job.processID, SIGTERM)
    let run = job.wait()
    #expect(run.status == 75, "\(run.errors.suffix(2000))")
    #expect(!run.errors.contains("supervise: restart"))
  }
}
