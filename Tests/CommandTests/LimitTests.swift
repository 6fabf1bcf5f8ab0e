import Foundation
import TestSupport
import Testing

/// Limits of the system on threads, memory and directories: one line and status 1, never a hang or a crash.
@Suite(.tags(.mpi), .serialized, .timeLimit(.minutes(3))) struct LimitTests {
  private let bench: CommandBench

  init() throws { bench = try CommandBench() }

  private static var isRoot: Bool { getuid() == 0 }

  /// Lines that are not the log of a run.
  private func messages(_ run: ProgramRun) -> [Substring] {
    run.errors.split(separator: "\n").filter { !$0.contains(" info: ") && !$0.hasPrefix("stage=") }
  }

  /// The limit counts the threads of a user, and root has none.
  @Test(.enabled(if: isRoot), arguments: 2...12)
  func aThreadThatCannotBeStartedIsOneLine(limit: Int) throws {
    let run = try bench.train()
    for path in [bench.folder.path, bench.corpus, run] { chmod(path, 0o755) }
    let own = bench.folder.file("own")
    try FileManager.default.createDirectory(atPath: own, withIntermediateDirectories: true)
    let user = uid_t(40_000 + limit)
    chown(own, user, user)
    for command in [
      ["evaluate", run, "--corpus", bench.corpus, "--threads", "3"],
      [
        "train", bench.configuration, "--corpus", bench.corpus, "--output", "\(own)/run", "--set",
        "training.threads=3",
      ],
      ["prepare", "--train", bench.configuration, "--output", "\(own)/corpus"],
    ] {
      let begun = ContinuousClock.now
      let result = try start(
        [
          "timeout", "-k", "1", "30", "setpriv", "--reuid=\(user)", "--regid=\(user)", "--clear-groups",
          "bash",
          "-c", "ulimit -u \(limit) && exec \"$@\"", "limited", program("milm"),
        ] + command, environment: ["OPENBLAS_NUM_THREADS": "1", "HOME": own])
      #expect(ContinuousClock.now - begun < .seconds(10))
      guard result.status != 0 else { continue }
      let messages = messages(result)
      #expect(result.status == 1 && messages.count == 1, "\(command[0]): \(result.transcript)")
      #expect(
        messages.first?.contains("cannot start a thread: Resource temporarily unavailable") == true,
        "\(command[0]): \(result.transcript)")
    }
  }

  /// The model needs 3 GB, the address space has 2 beyond what the program's libraries take.
  @Test func memoryThatCannotBeHadIsOneLine() throws {
    let result = try start(
      [
        "bash", "-c", "ulimit -v 3000000 && exec \"$@\"", "limited", program("milm"), "train",
        bench.configuration, "--corpus", bench.corpus, "--output", bench.folder.file("run"), "--set",
        "model.hidden=6000",
      ], environment: ["SWIFT_BACKTRACE": "enable=no"])
    #expect(result.status == 1 && messages(result).count == 1, "\(result.transcript)")
  }

  /// As with `readOnlyRootFilesystem` of Kubernetes.
  @Test(.enabled(if: isRoot)) func oneProcessNeedsNoTemporaryFolder() throws {
    let run = try bench.train()
    let result = try start(
      [program("milm"), "evaluate", run, "--corpus", bench.corpus, "--json"],
      environment: ["TMPDIR": "/proc"])
    #expect(result.status == 0, "\(result.transcript)")
    _ = try object(result)
  }

  @Test func theLauncherNamesTheDirectoryThatCannotBeWritten() throws {
    let launcher = repositoryFolder.appendingPathComponent("cluster/launch.sh").path
    let result = try start(
      [launcher, "-n", "2", "--", "doctor"], environment: ["MILM": program("milm"), "TMPDIR": "/proc/1"])
    #expect(result.status == 1 && messages(result).count == 1, "\(result.transcript)")
    #expect(result.errors.contains("found /proc/1: set TMPDIR to one"), "\(result.transcript)")
  }
}
