import Foundation
import Platform

/// The right to write in a run's directory, held by one process at a time from creation until it is released.
///
/// The kernel gives the lock up when the process ends, however it ends, so a dead holder's lock is free.
public final class RunLock: Sendable {
  /// The run that is locked.
  public let run: RunDirectory

  private let file: OpenFile

  /// Locks `RUN/lock`, in a directory that must exist, and writes into it who holds it.
  ///
  /// Throws `MilmError`; where another process holds the lock, it names that process and its host.
  public init(_ run: RunDirectory) throws {
    self.run = run
    file = try OpenFile.updating(run.lockPath)
    guard try file.lock() else {
      throw MilmError(
        run.lockPath, "expected no other job in this run, found \(try Self.holder(run.lockPath))")
    }
    let start = Date().formatted(.iso8601)
    let content = "pid=\(getpid()) host=\(Host.name) start=\(start)\n"
    try file.truncate(to: 0)
    try Array(content.utf8).withUnsafeBytes { try file.write($0) }
  }

  deinit {
    file.unlock()
  }

  /// What a holder has written about itself; for an instant after locking that is nothing.
  private static func holder(_ path: String) throws -> String {
    let content = try OpenFile.reading(path).readAll(limit: 4096)
    let text = String(decoding: content, as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines)
    return text.isEmpty ? "one that has not told its name yet" : text
  }
}
