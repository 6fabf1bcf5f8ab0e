import Checkpoints
import Foundation
import TestSupport
import Testing

/// Every fault that `--fault` can make, under `mpirun`: the outcome of the job, its time and its messages.
@Suite(.tags(.mpi), .serialized, .timeLimit(.minutes(5))) struct FaultTests {
  /// Trains 16 steps with one fault; ranks wait 2 s for each other.
  private func train(
    _ bench: CommandBench, _ rankCount: Int, fault: String, _ more: String...
  ) throws -> (run: ProgramRun, seconds: Double) {
    let clock = ContinuousClock()
    let begun = clock.now
    let run = try mpirun(
      rankCount,
      [
        program("milm"), "train", bench.configuration, "--corpus", bench.corpus, "--output",
        bench.folder.file("run"), "--fault", fault, "--set", "training.steps=16", "--set",
        "exchange.stallWarnSeconds=0.5", "--set", "exchange.stallAbortSeconds=2",
      ] + more)
    return (run, (clock.now - begun) / .seconds(1))
  }

  private func resume(_ bench: CommandBench, _ rankCount: Int, _ more: String...) throws {
    let run = try mpirun(
      rankCount,
      [
        program("milm"), "train", bench.configuration, "--corpus", bench.corpus, "--output",
        bench.folder.file("run"), "--resume", "auto", "--set", "training.steps=16", "--json",
      ] + more)
    #expect(run.status == 0, "\(run.transcript)")
    #expect(try object(run)["finished"] as? Bool == true)
  }

  /// With a sharded vocabulary ranks wait for each other within a step too, and shards are in transfer to rank 0 while
  /// training continues.
  @Test(arguments: [
    ("die:exchange:1:9", "Killed"), ("die:snapshot:1:8", "Killed"), ("hang:step:1:9", " for rank 1 ("),
    ("corrupt:exchange:1:9", "frame from rank 1 ("),
  ])
  func ranksThatShareTheVocabularyOutLoseNothingEither(fault: String, expected: String) throws {
    let bench = try CommandBench(wordCount: 2100)
    let sharded = "exchange.vocabulary=sharded"
    let (run, seconds) = try train(bench, 3, fault: fault, "--set", sharded)
    #expect(run.status != 0 && run.errors.contains(expected), "\(run.transcript)")
    #expect(seconds < 30)
    try resume(bench, 3, "--set", sharded)
  }

  @Test(arguments: [
    ("die:start:1:0", 2), ("die:step:1:9", 2), ("die:step:0:9", 3), ("die:exchange:2:9", 3),
    ("die:snapshot:1:8", 2), ("die:write:0:8", 2), ("die:rename:0:8", 2), ("die:link:0:8", 1),
  ])
  func aRankThatDiesEndsTheJobAndTheNextGoesOn(fault: String, rankCount: Int) throws {
    let bench = try CommandBench()
    let (run, seconds) = try train(bench, rankCount, fault: fault)
    #expect(run.status == mpirunKilledStatus, "\(run.transcript)")
    #expect(seconds < 30)
    try resume(bench, rankCount)
  }

  @Test(arguments: [
    ("hang:step:1:9", 2), ("hang:exchange:1:9", 2), ("hang:exchange:0:9", 3), ("hang:snapshot:1:8", 2),
  ])
  func aRankThatHangsIsNamedAndTheJobEnds(fault: String, rankCount: Int) throws {
    let bench = try CommandBench()
    let (run, seconds) = try train(bench, rankCount, fault: fault)
    let late = try #require(fault.split(separator: ":").dropFirst(2).first)
    #expect(run.status != 0 && !mpirunTimeoutStatuses.contains(run.status), "\(run.transcript)")
    #expect(
      run.errors.contains(" s without progress") && run.errors.contains(" for rank \(late) ("),
      "\(run.transcript)")
    #expect(seconds < 30)
    try resume(bench, rankCount)
  }

  /// At `launch` the rank has not started MPI yet; at `start` it opens the corpus and sends heartbeats.
  @Test(arguments: [
    ("hang:launch:1:0", ": MPI has not started in 5.0 s: expected all ranks to start"),
    ("hang:launch:0:0", ": MPI has not started in 5.0 s: expected all ranks to start"),
    ("hang:start:1:0", "; the limit of the start is 5.0 s"),
    ("hang:start:0:0", "; the limit of the start is 5.0 s"),
  ])
  func aRankThatHangsBeforeTheFirstStepEndsTheJob(fault: String, expected: String) throws {
    let bench = try CommandBench()
    let (run, seconds) = try train(bench, 2, fault: fault, "--start-limit", "5")
    #expect(run.status != 0 && !mpirunTimeoutStatuses.contains(run.status), "\(run.transcript)")
    #expect(run.errors.contains(expected), "\(run.transcript)")
    #expect(seconds < 30)
    try resume(bench, 2)
  }

  /// Before the first step a rank may take longer than it may later.
  @Test func theLimitOfTheStartIsLiftedByTheFirstStep() throws {
    let bench = try CommandBench()
    let job = try RunningProgram(
      mpirunArguments(2) + [
        program("milm"), "train", bench.configuration, "--corpus", bench.corpus, "--output",
        bench.folder.file("run"), "--start-limit", "4", "--fault", "hang:write:0:4",
      ], environment: mpirunEnvironment)
    // Rank 1 waits for rank 0's disk.
    #expect(job.says("could not write the checkpoint of step 8; training continues"))
    kill(job.processID, SIGUSR1)
    usleep(500_000)
    kill(job.processID, SIGUSR1)
    let run = job.wait()
    #expect(run.status == 75 && !run.errors.contains("the limit"), "\(run.transcript)")
  }

  /// Training does not wait longer than ten seconds for a write; each checkpoint that is skipped counts as a failure.
  @Test func aDiskThatHangsCostsCheckpointsAndNotTheSteps() throws {
    let bench = try CommandBench()
    let job = try RunningProgram(
      mpirunArguments(2) + [
        program("milm"), "train", bench.configuration, "--corpus", bench.corpus, "--output",
        bench.folder.file("run"), "--fault", "hang:write:0:8", "--set", "training.steps=10000000",
        "--set", "coordinator.reportEvery=1000",
      ], environment: mpirunEnvironment)
    for step in [12, 16, 20] {
      #expect(job.says("could not write the checkpoint of step \(step); training continues"))
    }
    kill(job.processID, SIGUSR1)
    usleep(500_000)
    kill(job.processID, SIGUSR1)
    #expect(job.wait().status == 75)
    #expect(try bench.lastStep("run") == 4)
  }

  /// Like a quota on one file: with `ulimit -f` no file may be longer than 8 KiB, and the kernel sends a signal too.
  @Test func aLimitOnTheSizeOfFilesCostsCheckpointsAndTheExitStatus() throws {
    let bench = try CommandBench()
    let limited = ["bash", "-c", "ulimit -f 8 && exec \"$@\"", "limited"]
    let arguments = [
      program("milm"), "train", bench.configuration, "--corpus", bench.corpus, "--output",
      bench.folder.file("run"), "--resume", "auto",
    ]
    let run = try start(limited + arguments)
    #expect(run.status == 1, "\(run.transcript)")
    #expect(run.output.contains("12, finished") && run.errors.contains("File too large"), "\(run.transcript)")
    for step in [4, 8, 12] {
      #expect(run.errors.contains("could not write the checkpoint of step \(step); training continues"))
    }
    let again = try start(arguments)
    #expect(again.status == 0, "\(again.transcript)")
    #expect(try bench.lastStep("run") == 12)
  }

  @Test(arguments: [2, 3])
  func aBadFrameIsRefusedByItsReceiver(rankCount: Int) throws {
    let bench = try CommandBench()
    let (run, seconds) = try train(bench, rankCount, fault: "corrupt:exchange:1:9")
    #expect(run.status == 1, "\(run.transcript)")
    #expect(run.errors.contains("frame from rank 1 ("), "\(run.transcript)")
    #expect(seconds < 30)
    try resume(bench, rankCount)
  }

  @Test func aFlippedBitOfAParameterIsFoundByItsHash() throws {
    let bench = try CommandBench()
    let (run, _) = try train(bench, 2, fault: "corrupt:step:1:9")
    #expect(run.status == 1, "\(run.transcript)")
    #expect(run.errors.components(separatedBy: "parameters differ between ranks at step 9: ").count == 2)
    try resume(bench, 2)
  }

  @Test(arguments: ["fail:write:0:8", "fail:rename:0:8", "fail:link:0:8"])
  func aWriteThatFailsCostsACheckpointAndTheExitStatus(fault: String) throws {
    let bench = try CommandBench()
    let (run, _) = try train(bench, 2, fault: fault)
    #expect(run.status == 1, "\(run.transcript)")
    #expect(run.errors.contains("could not write the checkpoint of step 8; training continues"))
    #expect(run.errors.contains("milm: 1 writes to "))
    #expect(try bench.lastStep("run") == 16)
    let steps = try RunDirectory(path: bench.folder.file("run")).checkpointSteps()
    #expect(steps == [4, 12, 16], "\(steps)")
  }

  @Test func aFailingRankPrintsItsError() throws {
    let bench = try CommandBench()
    let (run, seconds) = try train(bench, 3, fault: "fail:step:2:9")
    #expect(run.status == 1, "\(run.transcript)")
    #expect(run.errors.contains("rank 2: a fault injected by --fault at step, step 9"))
    #expect(seconds < 30)
  }

  @Test(arguments: [
    "die", "die:step:0", "die:nowhere:0:1", "explode:step:0:1", "die:step:-1:1", "corrupt:write:0:4",
  ])
  func aFaultThatIsNoneIsWrongUsage(text: String) throws {
    let run = try start([
      program("milm"), "train", "x.yaml", "--corpus", "c", "--output", "o", "--fault", text,
    ])
    #expect(run.status == 64 && run.errors.contains("--fault: expected "), "\(run.transcript)")
  }
}
