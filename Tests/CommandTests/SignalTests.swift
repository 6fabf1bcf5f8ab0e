import Foundation
import Platform
import TestSupport
import Testing

/// A running job writes a checkpoint and ends when it receives a signal.
@Suite(.tags(.mpi), .serialized, .timeLimit(.minutes(3))) struct SignalTests {
  /// A name that a shell would take apart.
  private let name = "a run's $HOME;(1)"

  /// A run that would take hours.
  private func arguments(_ bench: CommandBench, _ extra: String...) -> [String] {
    [
      "train", bench.configuration, "--corpus", bench.corpus, "--output", bench.folder.file(name),
      "--set", "training.steps=10000000", "--set", "coordinator.evaluateEvery=100",
      "--set", "coordinator.checkpointEvery=100", "--set", "coordinator.reportEvery=1000",
    ] + extra
  }

  /// The line that the job prints is pasted into a shell, and continues with as many ranks.
  private func expectInterrupted(_ job: RunningProgram, _ bench: CommandBench, ranks: Int) throws {
    let run = job.wait()
    #expect(run.status == 75, "\(run.transcript)")
    let message = try #require(
      run.errors.firstMatch(of: /milm: interrupted at step (\d+); continue with: (.*)\n/))
    #expect(String(message.2).hasSuffix("--resume auto"))
    let step = try #require(Int(message.1))
    #expect(try bench.lastStep(name) == step)
    let rest = try start(
      ["bash", "-c", "\(message.2) --steps \(step + 3) --json"], environment: mpirunEnvironment)
    #expect(try object(rest)["step"] as? Int == step + 3)
    #expect(rest.errors.contains(" ranks=\(ranks)\n"), "\(message.2)\n\(rest.transcript)")
  }

  @Test(arguments: [SIGUSR1, SIGTERM, SIGINT, SIGHUP])
  func oneProcessStopsWithACheckpoint(signal: Int32) throws {
    let bench = try CommandBench()
    let job = try RunningProgram([program("milm")] + arguments(bench))
    #expect(job.says("checkpoint written"))
    kill(job.processID, signal)
    try expectInterrupted(job, bench, ranks: 1)
  }

  /// A command that has nothing to save ends with a line, and what it had begun to write is removed.
  @Test(arguments: [SIGHUP, SIGTERM, SIGINT, SIGUSR1])
  func aCommandWithNothingToSaveEndsCleanly(signal: Int32) throws {
    let bench = try CommandBench()
    let run = try bench.train()
    let slow = bench.folder.file("slow")
    try #require(mkfifo(slow, 0o600) == 0)
    // Holds the pipe open, so that its reader waits for ever.
    let writer = try RunningProgram(["sh", "-c", "exec sleep 60 1<>\"$1\"", "sh", slow])
    defer {
      kill(writer.processID, SIGKILL)
      _ = writer.wait()
    }
    let before = try FileManager.default.subpathsOfDirectory(atPath: bench.folder.path).sorted()
    for (arguments, begun) in [
      (["prepare", "--train", slow, "--output", bench.folder.file("some/new")], ".new."),
      (["prepare", "--train", slow, "--output", bench.corpus], ".corpus."),
      (["evaluate", run, "--text", slow, "--per-token", bench.folder.file("p.tsv")], nil),
      (["generate", run, "--tokens", "100000000"], nil), (["inspect", slow], nil),
      (["train", "--single-node-test"], "milm-"),
      (["benchmark", "prepare", "--words", "3000000", "--rounds", "100"], "milm-prepare-"),
    ] as [([String], String?)] {
      let temporary = try TemporaryFolder()
      let job = try RunningProgram([program("milm")] + arguments, environment: ["TMPDIR": temporary.path])
      let folders = [bench.folder.path, temporary.path]
      func files() -> [String] {
        folders.flatMap { (try? FileManager.default.subpathsOfDirectory(atPath: $0)) ?? [] }
      }
      for _ in 0..<200 where !files().contains(where: { begun.map($0.contains) ?? false }) {
        usleep(10_000)
      }
      kill(job.processID, signal)
      let result = job.wait()
      #expect(result.status == 75, "\(arguments[0]): \(result.errors)")
      #expect(
        result.errors.hasSuffix("milm: interrupted by \(Self.names[signal] ?? "")\n"), "\(result.errors)")
      #expect(try FileManager.default.subpathsOfDirectory(atPath: bench.folder.path).sorted() == before)
      #expect(try temporary.entries() == [], "\(arguments[0])")
    }
  }

  private static let names = [
    SIGHUP: "SIGHUP", SIGTERM: "SIGTERM", SIGINT: "SIGINT", SIGUSR1: "SIGUSR1",
  ]

  @Test func aCommandUnderNohupOutlivesItsTerminal() throws {
    let bench = try CommandBench()
    let run = try bench.train()
    let job = try RunningProgram([
      "bash", "-c", "trap '' HUP; exec \"$@\"", "nohup", program("milm"), "generate", run, "--tokens",
      "20000",
    ])
    usleep(300_000)
    kill(job.processID, SIGHUP)
    #expect(job.wait().status == 0)
  }

  /// The launcher forwards the request; without a handler the ranks would die of it, with status 138.
  @Test func aRequestToTheLauncherEndsAnEvaluation() throws {
    let bench = try CommandBench()
    let run = try bench.train()
    let slow = bench.folder.file("slow")
    try #require(mkfifo(slow, 0o600) == 0)
    let launcher = repositoryFolder.appendingPathComponent("cluster/launch.sh").path
    let job = try RunningProgram(
      [launcher, "-n", "2", "--threads", "1", "--", "evaluate", run, "--text", slow],
      environment: ["MILM": program("milm")])
    // Once rank 0 opens the text, all ranks handle signals.
    var writer: Int32 = -1
    for _ in 0..<600 where writer == -1 {
      writer = open(slow, O_WRONLY | O_NONBLOCK)
      if writer == -1 { usleep(50_000) }
    }
    defer { close(writer) }
    kill(job.processID, SIGTERM)
    let result = job.wait()
    #expect(
      result.status == 75 && result.errors.contains("milm: interrupted by SIGUSR1\n"), "\(result.transcript)")
  }

  /// Waits until the run of a job has a checkpoint of a later step than this one; returns its step.
  private func laterStep(than step: Int, _ bench: CommandBench) throws -> Int {
    for _ in 0..<600 {
      if let last = try? bench.lastStep(name), last > step { return last }
      usleep(50_000)
    }
    throw MilmError("expected a checkpoint after step \(step), found none")
  }

  /// The reader of the output, such as `head`, ends after some lines.
  @Test(arguments: [true, false])
  func aRunWhoseReaderHasGoneStopsOrOutlivesIt(isNohup: Bool) throws {
    let bench = try CommandBench()
    let status = bench.folder.file("status")
    let job = try RunningProgram(
      [
        "bash", "-c",
        "\(isNohup ? "trap '' HUP; " : "")status=$1; shift; "
          + "{ \"$@\" & echo $! > \"$status.id\"; wait $!; echo $? > \"$status\"; } 2>&1 | head -n 1 >/dev/null",
        "shell", status, program("milm"),
      ] + arguments(bench, "--set", "coordinator.reportEvery=100"))
    if isNohup {
      var step = 0
      for _ in 0..<3 { step = try laterStep(than: step, bench) }
      let id = try String(contentsOfFile: "\(status).id", encoding: .utf8).dropLast()
      kill(try #require(Int32(id)), SIGUSR1)
    }
    _ = job.wait()
    #expect(try String(contentsOfFile: status, encoding: .utf8) == "75\n")
    #expect(try bench.lastStep(name) > 0)
  }

  /// The job of a launcher that hangs up, or that is killed, stops with a checkpoint.
  @Test(arguments: [SIGHUP, SIGKILL])
  func theJobDoesNotOutliveItsLauncher(signal: Int32) throws {
    let bench = try CommandBench()
    let launcher = repositoryFolder.appendingPathComponent("cluster/launch.sh").path
    let job = try RunningProgram(
      [launcher, "-n", "2", "--threads", "1", "--"] + arguments(bench), environment: ["MILM": program("milm")]
    )
    #expect(job.says("checkpoint written"))
    kill(job.processID, signal)
    // The relay of its output ends with the ranks.
    let run = job.wait()
    #expect(run.status == (signal == SIGKILL ? SIGKILL : 75), "\(run.transcript)")
    #expect(run.errors.contains("milm: interrupted at step "), "\(run.transcript)")
  }

  @Test(arguments: [1, 2, 3])
  func aSignalToMpirunStopsAllRanks(rankCount: Int) throws {
    let bench = try CommandBench()
    let job = try RunningProgram(
      mpirunArguments(rankCount) + [program("milm")] + arguments(bench), environment: mpirunEnvironment)
    #expect(job.says("checkpoint written"))
    kill(job.processID, SIGUSR1)
    try expectInterrupted(job, bench, ranks: rankCount)
  }

  @Test(arguments: [(SIGUSR1, 0), (SIGUSR1, 2), (SIGTERM, 1)])
  func aSignalToOneRankStopsAllRanks(signal: Int32, rank: Int) throws {
    let bench = try CommandBench()
    let job = try RunningProgram(
      mpirunArguments(3) + [program("milm")] + arguments(bench), environment: mpirunEnvironment)
    #expect(job.says("checkpoint written"))
    let ranks = job.childProcessIDs
    try #require(ranks.count == 3)
    kill(ranks[rank], signal)
    try expectInterrupted(job, bench, ranks: 3)
  }

  @Test func theLauncherForwardsSIGTERMAsAStopRequest() throws {
    let bench = try CommandBench()
    let launcher = repositoryFolder.appendingPathComponent("cluster/launch.sh").path
    let job = try RunningProgram(
      [launcher, "-n", "2", "--threads", "1", "--"] + arguments(bench),
      environment: ["MILM": program("milm")])
    #expect(job.says("checkpoint written"))
    kill(job.processID, SIGTERM)
    try expectInterrupted(job, bench, ranks: 2)
  }

  /// The launcher forwards both signals; rank 0 hangs, so that the first cannot end the job.
  @Test func aRepeatedSignalToTheLauncherEndsTheJobAtOnce() throws {
    let bench = try CommandBench()
    let launcher = repositoryFolder.appendingPathComponent("cluster/launch.sh").path
    let job = try RunningProgram(
      [launcher, "-n", "2", "--threads", "1", "--"] + arguments(bench, "--fault", "hang:step:0:100"),
      environment: ["MILM": program("milm")])
    #expect(job.says("checkpoint written"))
    kill(job.processID, SIGTERM)
    usleep(500_000)
    kill(job.processID, SIGTERM)
    let run = job.wait()
    #expect(run.status == 75, "\(run.transcript)")
    #expect(!run.errors.contains("interrupted at step"))
    #expect(try bench.lastStep(name) == 100)
  }

  @Test func aRepeatedSignalEndsTheProcessAtOnce() throws {
    let bench = try CommandBench()
    let job = try RunningProgram(
      [program("milm")] + arguments(bench, "--fault", "hang:step:0:100"))
    #expect(job.says("checkpoint written"))
    kill(job.processID, SIGTERM)
    usleep(500_000)
    kill(job.processID, SIGTERM)
    let run = job.wait()
    #expect(run.status == 75)
    #expect(!run.errors.contains("interrupted at step"))
    #expect(try bench.lastStep(name) == 100)
  }
}
