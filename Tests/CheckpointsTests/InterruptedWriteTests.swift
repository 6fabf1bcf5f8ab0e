import Checkpoints
import Foundation
import TestSupport
import Testing

/// Checkpoints on full disks and in killed processes.
struct InterruptedWriteTests {
  /// A file system of a few pages that exists while `body` runs.
  private enum TinyDisk {
    static let isAvailable = (try? with(pageCount: 4) { _ in }) != nil

    static func with(pageCount: Int, _ body: (RunDirectory) throws -> Void) throws {
      let folder = try TemporaryFolder()
      try run("mount", "-t", "tmpfs", "-o", "size=\(pageCount * 4096)", "none", folder.path)
      defer {
        do {
          try run("umount", folder.path)
        } catch {
          Issue.record(error)
        }
      }
      try body(RunDirectory(path: folder.file("run")))
    }

    private static func run(_ arguments: String...) throws {
      if try start(arguments).status != 0 { throw CocoaError(.featureUnsupported) }
    }
  }

  /// The lock and the first checkpoint take six pages: lock, model, optimizer, state, the record of it, and the second
  /// checkpoint's model and optimizer sixty each.
  @Test(
    .enabled(if: TinyDisk.isAvailable, "mounting a small tmpfs needs root"),
    arguments: [6, 31, 65, 71, 124, 125])
  func leavesNothingBehindOnAFullDisk(pageCount: Int) throws {
    try TinyDisk.with(pageCount: pageCount) { run in
      try run.create()
      let store = try CheckpointStore(lock: RunLock(run))
      try write(1, to: store)
      let error = try refusal { try write(2, to: store, count: 59 * 1024) }
      #expect(error.hasSuffix("cannot write: No space left on device"), "\(error)")

      let entries = try FileManager.default.contentsOfDirectory(atPath: run.checkpointsPath).sorted()
      #expect(entries == ["last", "step-00000001"])
      let checkpoint = try Checkpoint.open(run.path)
      #expect(checkpoint.state.step == 1)
      try checkpoint.verify()
    }
  }

  @Test(.enabled(if: TinyDisk.isAvailable, "mounting a small tmpfs needs root"))
  func writesAgainOnceThereIsSpace() throws {
    try TinyDisk.with(pageCount: 127) { run in
      try run.create()
      let store = try CheckpointStore(lock: RunLock(run))
      try write(1, to: store)
      let filler = "\(run.path)/filler"
      try replaceContent(filler, Array(repeating: 0, count: 4096 * 60))
      _ = try refusal { try write(2, to: store, count: 59 * 1024) }
      try FileManager.default.removeItem(atPath: filler)
      try write(2, to: store, count: 59 * 1024)
      try Checkpoint.open(run.path).verify()
      #expect(try store.list() == [1, 2])
    }
  }

  @Test(.timeLimit(.minutes(5)), arguments: [3, 10, 25, 60, 120])
  func isCompleteOrAbsentWhenItsWriterIsKilled(milliseconds: Int) async throws {
    let folder = try TemporaryFolder()
    let run = RunDirectory(path: folder.file("run"))
    try run.create()
    try write(0, to: CheckpointStore(lock: RunLock(run)))
    await #expect(processExitsWith: .signal(SIGKILL)) {
      [path = run.path as String, milliseconds = milliseconds as Int] in
      let store = try CheckpointStore(lock: RunLock(RunDirectory(path: path)))
      Thread.detachNewThread {
        usleep(UInt32(milliseconds) * 1000)
        kill(getpid(), SIGKILL)
      }
      while true {
        for step in 1...4 { try write(step, to: store, count: 100_000) }
        try store.markBest(4)
        try store.prune(keepLast: 2)
      }
    }
    let store = try CheckpointStore(lock: RunLock(run))
    let steps = try store.list()
    #expect(!steps.isEmpty)
    for step in steps { try Checkpoint(directory: run.location(ofStep: step).path).verify() }
    let hidden = try FileManager.default.contentsOfDirectory(atPath: run.checkpointsPath).filter {
      $0.hasPrefix(".")
    }
    #expect(hidden == [])
    #expect(try steps.contains(Checkpoint.open("\(run.checkpointsPath)/last").state.step))
  }
}
