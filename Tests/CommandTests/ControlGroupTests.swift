import Foundation
import TestSupport
import Testing

/// `milm` in a control group with limits, as in a container.
@Suite(.tags(.mpi), .serialized, .timeLimit(.minutes(2))) struct ControlGroupTests {
  @Test(.enabled(if: LimitedGroup.allows("cpu"), "expected root and a control group for processor time"))
  func aQuotaBoundsTheThreads() throws {
    let bench = try CommandBench()
    let group = try LimitedGroup("cpu", ["cpu.cfs_quota_us": "50000"], ["cpu.max": "50000 100000"])
    let train = try group.run([
      program("milm"), "train", bench.configuration, "--corpus", bench.corpus, "--output",
      bench.folder.file("run"), "--dry-run", "--set", "training.threads=auto",
    ])
    #expect(train.status == 0 && train.errors.contains("1 thread"), "\(train.transcript)")
    let doctor = try group.run([program("milm"), "doctor"])
    #expect(doctor.output.contains("may use the time of 0.50 of "), "\(doctor.transcript)")
  }

  @Test(.enabled(if: LimitedGroup.allows("memory"), "expected root and a control group for memory"))
  func aLimitOfMemoryIsCheckedBeforeTheKernelDoes() throws {
    let bench = try CommandBench()
    let group = try LimitedGroup(
      "memory", ["memory.limit_in_bytes": "300000000"], ["memory.max": "300000000"])
    let run = try group.run([
      program("milm"), "train", bench.configuration, "--corpus", bench.corpus, "--output",
      bench.folder.file("run"), "--set", "model.hidden=2048", "--set", "model.embedding=512", "--set",
      "model.decoderContext=32",
    ])
    #expect(run.status == 1, "\(run.transcript)")
    #expect(run.errors.contains("limited to 300 MB, has "), "\(run.transcript)")
    let lines = run.errors.split(separator: "\n").filter { $0.contains("a rank needs about") }
    #expect(lines.count == 1, "\(run.transcript)")
  }
}

/// A control group made for a test, and removed with it.
private final class LimitedGroup {
  private let path: String

  /// The directory to make groups of a controller in, of version 1 or 2; nil where this process may not.
  private static func parent(_ controller: String) -> String? {
    let parents = ["/sys/fs/cgroup/\(controller)", "/sys/fs/cgroup"]
    return parents.first { parent in
      let controllers =
        (try? String(contentsOfFile: "\(parent)/cgroup.subtree_control", encoding: .utf8)) ?? ""
      let isVersion1 =
        FileManager.default.fileExists(atPath: "\(parent)/\(controller).stat") && parent != "/sys/fs/cgroup"
      let names = controllers.split(whereSeparator: \.isWhitespace)
      return access(parent, W_OK) == 0 && (isVersion1 || names.contains(Substring(controller)))
    }
  }

  static func allows(_ controller: String) -> Bool {
    guard let parent = parent(controller) else { return false }
    let trial = "\(parent)/milm-test-trial-\(getpid())"
    defer { rmdir(trial) }
    return mkdir(trial, 0o755) == 0
  }

  /// Sets the files of the hierarchy's version.
  init(_ controller: String, _ version1: [String: String], _ version2: [String: String]) throws {
    let parent = try #require(Self.parent(controller))
    path = "\(parent)/milm-test-\(getpid())"
    mkdir(path, 0o755)
    for (name, value) in parent == "/sys/fs/cgroup" ? version2 : version1 {
      try Data(value.utf8).write(to: URL(filePath: "\(path)/\(name)"))
    }
  }

  deinit {
    // The kernel removes the last process a moment after it has been waited for.
    for _ in 0..<100 where rmdir(path) != 0 { usleep(20_000) }
  }

  func run(_ arguments: [String]) throws -> ProgramRun {
    try start(["sh", "-c", "echo $$ >\(path)/cgroup.procs && exec \"$@\"", "sh"] + arguments)
  }
}
