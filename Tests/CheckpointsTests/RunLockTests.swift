import Checkpoints
import Foundation
import TestSupport
import Testing

struct RunLockTests {
  let folder: TemporaryFolder
  let run: RunDirectory

  init() throws {
    folder = try TemporaryFolder()
    run = RunDirectory(path: folder.file("run"))
    try run.create()
  }

  @Test func isExclusiveAndNamesItsHolder() throws {
    let lock = try RunLock(run)
    let error = try refusal { _ = try RunLock(run) }
    let host = ProcessInfo.processInfo.hostName
    #expect(
      error.hasPrefix(
        "\(run.lockPath): expected no other job in this run, found pid=\(getpid()) host=\(host) start=20"))
    #expect(lock.run == run)
  }

  @Test func isFreeAfterItsHolderReleasesIt() throws {
    do { _ = try RunLock(run) }
    _ = try RunLock(run)
  }

  @Test(.timeLimit(.minutes(5))) func isTakenOverFromADeadProcess() async throws {
    await #expect(processExitsWith: .signal(SIGKILL)) { [path = run.path as String] in
      let lock = try RunLock(RunDirectory(path: path))
      let isHeld = (try? RunLock(RunDirectory(path: path))) == nil
      if isHeld { kill(getpid(), SIGKILL) }
      withExtendedLifetime(lock) {}
    }
    #expect(try !String(contentsOfFile: run.lockPath, encoding: .utf8).contains("pid=\(getpid()) "))
    let lock = try RunLock(run)
    #expect(try String(contentsOfFile: lock.run.lockPath, encoding: .utf8).hasPrefix("pid=\(getpid()) "))
  }

  @Test func isNotInheritedByChildProcesses() throws {
    let lock = try RunLock(run)
    var child: pid_t = 0
    var arguments: [UnsafeMutablePointer<CChar>?] = [strdup("sleep"), strdup("60"), nil]
    defer { arguments.forEach { free($0) } }
    try #require(posix_spawn(&child, "/bin/sleep", nil, nil, &arguments, nil) == 0)
    defer {
      kill(child, SIGKILL)
      waitpid(child, nil, 0)
    }
    let descriptors = "/proc/\(child)/fd"
    // A program that has just started still opens and closes files.
    let names = try FileManager.default.contentsOfDirectory(atPath: descriptors)
    let openFiles = names.compactMap { descriptor in
      try? FileManager.default.destinationOfSymbolicLink(atPath: "\(descriptors)/\(descriptor)")
    }
    #expect(openFiles.count >= 3)
    #expect(!openFiles.contains { $0.hasSuffix("/run/lock") })
    withExtendedLifetime(lock) {}
  }
}
