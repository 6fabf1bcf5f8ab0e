import Foundation
import TestSupport
import Testing

/// Standard input, output and error that are closed, full or without a reader.
@Suite(.tags(.mpi), .serialized, .timeLimit(.minutes(3))) struct StandardStreamTests {
  private let bench: CommandBench

  init() throws { bench = try CommandBench() }

  /// Runs `milm` in a shell that redirects its streams.
  private func milm(_ arguments: [String], _ redirections: String, ranks: Int? = nil) throws -> ProgramRun {
    let shell = ["bash", "-c", "exec \"$@\" \(redirections)", "shell", program("milm")] + arguments
    return try ranks.map { try mpirun($0, shell) } ?? start(shell)
  }

  private func train(_ more: String...) -> [String] {
    ["train", bench.configuration, "--corpus", bench.corpus, "--output", bench.folder.file("run")] + more
  }

  /// The next file that is opened gets the number of a closed descriptor, and with it what is printed there.
  @Test(arguments: ["<&- 2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
  func closedStreamsLeaveTheFilesOfACommandAlone(redirections: String) throws {
    let text = try bench.folder.write((0..<4000).map { "w\($0 % 300)" }.joined(separator: " "), to: "t").path
    func prepare(_ name: String) -> [String] {
      ["prepare", "--train", text, "--valid", text, "--output", bench.folder.file(name)]
    }
    #expect(try milm(prepare("open"), "").status == 0)
    #expect(try milm(prepare("closed"), redirections).status == 0)
    for name in ["corpus.json", "vocabulary.txt", "train.tokens", "valid.tokens"] {
      let files = ["open", "closed"].map {
        FileManager.default.contents(atPath: bench.folder.file("\($0)/\(name)"))
      }
      #expect(files[0] != nil && files[0] == files[1], "\(name)")
    }
  }

  @Test(arguments: [nil, 2])
  func closedStreamsLeaveTheFilesOfARunAlone(rankCount: Int?) throws {
    let run = try milm(train(), "<&- >&- 2>&-", ranks: rankCount)
    #expect(run.status == 0, "\(run.transcript)")
    #expect(try bench.lastStep("run") == 12)
    let inspected = try bench.milm("inspect", bench.folder.file("run"))
    #expect(inspected.status == 0, "\(inspected.transcript)")
  }

  @Test(arguments: [
    "evaluate RUN --corpus CORPUS --json", "evaluate RUN --corpus CORPUS", "generate RUN --tokens 3",
    "inspect CORPUS", "inspect CORPUS --json", "inspect RUN", "prepare --generate 2000 --output NEW --json",
    "report RUN", "doctor", "--help", "train --help", "--version", "--generate-completion-script bash",
    "train CONFIGURATION --corpus CORPUS --output NEW-RUN",
    "train CONFIGURATION --corpus CORPUS --output NEW-RUN-2 --json",
  ])
  func resultsThatCannotBeWrittenAreAnError(command: String) throws {
    let run = try bench.train()
    let words = command.replacing("CORPUS", with: bench.corpus).replacing("RUN", with: run)
      .replacing("CONFIGURATION", with: bench.configuration).replacing("NEW", with: bench.folder.file("new"))
    let result = try milm(words.split(separator: " ").map(String.init), ">/dev/full")
    #expect(result.status == 1, "\(result.transcript)")
    #expect(
      result.errors.contains("standard output: cannot write: No space left on device\n"),
      "\(result.transcript)")
  }

  /// With `2>&1 >&-` there is a pipe without a reader on both; with `/dev/full` a disk without room.
  @Test(arguments: ["2>/dev/full", "2> >(exec true)", ">/dev/full 2>/dev/full"])
  func diagnosticsThatCannotBeWrittenAreDropped(redirections: String) throws {
    #expect(try milm(["evaluate", "nowhere", "--corpus", bench.corpus], redirections).status == 1)
    #expect(try milm(["evaluate", "nowhere"], redirections).status == 64)
    let lone = try bench.folder.write("a\rb c\n", to: "lone.txt").path
    let prepared = try milm(
      ["prepare", "--train", lone, "--output", bench.folder.file("lone")], redirections)
    #expect(prepared.status == (redirections.hasPrefix(">") ? 1 : 0), "\(prepared.transcript)")
  }

  /// What cannot be written does not hide that the run can be continued.
  @Test(arguments: [">/dev/full", "2>/dev/full", ">/dev/full 2>/dev/full"])
  func anInterruptedRunKeepsItsStatus(redirections: String) throws {
    let log = bench.folder.file("run/metrics.jsonl")
    let job = try RunningProgram(
      [
        "bash", "-c", "exec \"$@\" \(redirections)", "shell", program("milm"),
      ]
        + train(
          "--set", "training.steps=10000000", "--set", "coordinator.evaluateEvery=0", "--set",
          "coordinator.reportEvery=100"))
    for _ in 0..<300 where !FileManager.default.fileExists(atPath: log) { usleep(100_000) }
    usleep(500_000)
    kill(job.processID, SIGUSR1)
    #expect(job.wait().status == 75)
    #expect(try bench.lastStep("run") > 0)
  }
}
