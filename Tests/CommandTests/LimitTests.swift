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
  @Test(.enabled(if: isRoot, "expected root"), arguments: 1...12)
  func aThreadThatCannotBeStartedIsOneLine(limit: Int) throws {
    let run = try bench.train()
    for path in [bench.folder.path, bench.corpus, run] { chmod(path, 0o755) }
    let own = bench.folder.file("own")
    try FileManager.default.createDirectory(atPath: own, withIntermediateDirectories: true)
    let server = try FileServer([1])
    let address = try server.address("missing").absoluteString
    let user = uid_t(40_000 + limit)
    chown(own, user, user)
    for command in [
      ["evaluate", run, "--corpus", bench.corpus, "--threads", "3"],
      [
        "train", bench.configuration, "--corpus", bench.corpus, "--output", "\(own)/run", "--set",
        "training.threads=3",
      ],
      ["prepare", "--train", bench.configuration, "--output", "\(own)/corpus"],
      ["prepare", "wikitext-103", "--url", address, "--output", "\(own)/wikitext"],
    ] {
      let begun = ContinuousClock.now
      let result = try start(
        [
          "timeout", "-k", "1", "30", "setpriv", "--reuid=\(user)", "--regid=\(user)", "--clear-groups",
          "bash",
          "-c", "ulimit -u \(limit) && exec \"$@\"", "limited", program("milm"),
        ] + command, environment: ["HOME": own])
      #expect(ContinuousClock.now - begun < .seconds(10))
      guard result.status != 0 else { continue }
      let messages = messages(result)
      #expect(result.status == 1 && messages.count == 1, "\(command[0]): \(result.transcript)")
      let isMissing = command.contains("wikitext-103") && result.errors.contains("cannot download")
      #expect(
        isMissing
          || messages.first?.contains("cannot start a thread: Resource temporarily unavailable") == true,
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
      ])
    #expect(result.status == 1 && messages(result).count == 1, "\(result.transcript)")
    #expect(
      result.errors.contains("but the address space of this process, limited to 3072 MB by ulimit -v, has"),
      "\(result.transcript)")
  }

  /// From less than the libraries need to enough for a small model; with still less, the kernel cannot start the program.
  @Test(arguments: ["v", "d"]) func everyLimitOfMemoryIsOneLine(option: String) throws {
    let run = try bench.train()
    var statuses: Set<Int32> = []
    for megabytes in [80, 100, 200, 300, 400, 450, 500, 550, 600, 650, 700, 800, 1000, 1500] {
      let limit = option == "v" ? megabytes : megabytes / 3
      for (index, command) in [
        ["train", bench.configuration, "--corpus", bench.corpus, "--output"],
        ["prepare", "--generate", "2000", "--output"],
        ["evaluate", run, "--corpus", bench.corpus, "--threads", "2", "--cache", "100", "--per-token"],
      ].enumerated() {
        let result = try start(
          [
            "timeout", "-k", "1", "20", "bash", "-c", "ulimit -\(option) \(limit * 1000) && exec \"$@\"",
            "limited", program("milm"),
          ] + command + [bench.folder.file("\(option)-\(megabytes)-\(index)")])
        statuses.insert(result.status)
        let isLoaded = !result.errors.contains("error while loading shared libraries")
        #expect(
          isLoaded ? [0, 1].contains(result.status) : result.status == 127 && limit < 400,
          "\(result.transcript)")
        if result.status != 0 { #expect(messages(result).count == 1, "\(limit) MB: \(result.transcript)") }
      }
    }
    #expect(statuses.isSuperset(of: [0, 1]))
  }

  /// A file that is there and cannot be read may be good.
  @Test(arguments: ["model.safetensors", "state.json"])
  func aCheckpointThatMayNotBeReadEndsTheStart(name: String) throws {
    let run = try bench.train()
    let newest = URL(filePath: "\(run)/checkpoints/last").resolvingSymlinksInPath().path
    for path in [bench.folder.path, bench.corpus] { chmod(path, 0o755) }
    if Self.isRoot {
      for path in try FileManager.default.subpathsOfDirectory(atPath: run).map({ "\(run)/\($0)" }) + [run] {
        lchown(path, 40_050, 40_050)
      }
    }
    chmod("\(newest)/\(name)", 0)
    let before = try FileManager.default.contentsOfDirectory(atPath: "\(run)/checkpoints").sorted()
    let user = Self.isRoot ? ["setpriv", "--reuid=40050", "--regid=40050", "--clear-groups"] : []
    let result = try start(
      user + [
        program("milm"), "train", bench.configuration, "--corpus", bench.corpus, "--output", run, "--resume",
        "auto", "--set", "training.steps=20",
      ], environment: ["HOME": run])
    #expect(result.status == 1 && messages(result).count == 1, "\(result.transcript)")
    #expect(
      result.errors.contains("\(name): cannot open: Permission denied: \(newest) may be good"),
      "\(result.transcript)")
    #expect(try FileManager.default.contentsOfDirectory(atPath: "\(run)/checkpoints").sorted() == before)
  }

  /// A run would train without a validation split that its corpus names.
  @Test(arguments: ["valid.tokens", "test.tokens"])
  func aSplitThatMayNotBeReadEndsTheStart(name: String) throws {
    let own = bench.folder.file("own")
    try FileManager.default.createDirectory(atPath: own, withIntermediateDirectories: true)
    for path in [bench.folder.path, bench.corpus] { chmod(path, 0o755) }
    if Self.isRoot { chown(own, 40_051, 40_051) }
    chmod("\(bench.corpus)/\(name)", 0)
    let user = Self.isRoot ? ["setpriv", "--reuid=40051", "--regid=40051", "--clear-groups"] : []
    let result = try start(
      user + [
        program("milm"), "train", bench.configuration, "--corpus", bench.corpus, "--output", "\(own)/run",
      ], environment: ["HOME": own])
    #expect(result.status == 1 && messages(result).count == 1, "\(result.transcript)")
    #expect(result.errors.contains("\(name): cannot open: Permission denied"), "\(result.transcript)")
    #expect(!FileManager.default.fileExists(atPath: "\(own)/run"))
  }

  /// As with `readOnlyRootFilesystem` of Kubernetes.
  @Test(.enabled(if: isRoot, "expected root")) func oneProcessNeedsNoTemporaryFolder() throws {
    let run = try bench.train()
    let result = try start(
      [program("milm"), "evaluate", run, "--corpus", bench.corpus, "--json"],
      environment: ["TMPDIR": "/proc"])
    #expect(result.status == 0, "\(result.transcript)")
    _ = try object(result)
  }

  /// As in a container whose root file system is read-only: MPI itself would print pages.
  @Test(.enabled(if: isRoot && usesOpenMPI, "mounting needs root, and MPICH no directory"))
  func aRankNamesTheDirectoryThatItCannotWrite() throws {
    let hidden = "mount --make-rprivate / && mount -t tmpfs -o ro none \"$TMPDIR\" && exec \"$@\""
    let folder = try TemporaryFolder()
    let result = try mpirun(
      1, ["unshare", "-m", "sh", "-c", hidden, "sh", program("milm"), "doctor"],
      environment: ["TMPDIR": folder.path])
    #expect(result.status == 1, "\(result.transcript)")
    #expect(
      result.errors.contains(
        "MPI: expected a writable directory for its files, found \(folder.path): cannot write"),
      "\(result.transcript)")
    #expect(
      result.errors.contains("set TMPDIR") && !result.errors.contains("MPI_INIT"), "\(result.transcript)")
  }

  @Test func theLauncherNamesTheDirectoryThatCannotBeWritten() throws {
    let launcher = repositoryFolder.appendingPathComponent("cluster/launch.sh").path
    let result = try start(
      [launcher, "-n", "2", "--", "doctor"], environment: ["MILM": program("milm"), "TMPDIR": "/proc/1"])
    #expect(result.status == 1 && messages(result).count == 1, "\(result.transcript)")
    #expect(result.errors.contains("found /proc/1: set TMPDIR to one"), "\(result.transcript)")
  }
}
