import Foundation

/// The right to write in a run's directory, held by one process at a time from creation until it is released.
///
/// The kernel gives the lock up when the process ends, however it ends, so a dead holder's lock is free.
public final class RunLock: Sendable {
  /// The run that is locked.
  public let run: RunDirectory

  private let file: LockFile

  /// Locks `RUN/lock`, in a directory that must exist, and writes into it who holds it.
  ///
  /// Throws `CheckpointError`; where another process holds the lock, it names that process and its host.
  public init(_ run: RunDirectory) throws {
    self.run = run
    file = LockFile(file: try OpenFile.updating(run.lockPath))
    guard flock(file.descriptor, LOCK_EX | LOCK_NB) == 0 else {
      let code = errno
      guard code == EWOULDBLOCK else { throw CheckpointError(run.lockPath, cannot: "lock", code: code) }
      throw CheckpointError(
        run.lockPath, "expected no other job in this run, found \(try Self.holder(run.lockPath))")
    }
    let start = Date().formatted(.iso8601)
    let content = "pid=\(getpid()) host=\(ProcessInfo.processInfo.hostName) start=\(start)\n"
    try file.replaceContent(with: content)
  }

  deinit {
    // Closing alone would leave the lock to a child that another thread has forked but that has not become
    // its program yet.
    flock(file.descriptor, LOCK_UN)
  }

  /// What a holder has written about itself; for an instant after locking that is nothing.
  private static func holder(_ path: String) throws -> String {
    let content = try OpenFile.reading(path).readAll(limit: 4096)
    let text = String(decoding: content, as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines)
    return text.isEmpty ? "one that has not told its name yet" : text
  }
}

/// The open lock file; closing it releases the lock.
private struct LockFile: ~Copyable {
  let file: OpenFile
  var descriptor: CInt { file.descriptor }

  func replaceContent(with text: String) throws {
    try check(ftruncate(descriptor, 0), "empty", file.path)
    try Array(text.utf8).withUnsafeBytes { try file.write($0) }
  }
}
