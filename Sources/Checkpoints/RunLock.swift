import Foundation
import Platform
import Synchronization

/// The exclusive right to write in a run directory, held until the object is released.
///
/// The kernel releases the lock when the process ends in any way, so the lock of a dead process can be taken.
package final class RunLock: Sendable {
  package let run: RunDirectory

  private let file: Mutex<OpenFile>

  /// Locks `RUN/lock`, in a directory that must exist, and writes process and host into it.
  ///
  /// If another process holds the lock, the error names that process and its host.
  package init(_ run: RunDirectory) throws {
    self.run = run
    file = Mutex(try Self.locked(run))
  }

  /// Locks the run again where its directory has vanished and was made again.
  func renew() throws {
    guard case .absent = try FileEntry(at: run.lockPath) else { return }
    try file.withLock { $0 = try Self.locked(run) }
  }

  private static func locked(_ run: RunDirectory) throws -> OpenFile {
    let file = try OpenFile.updating(run.lockPath)
    guard try file.lock() else {
      throw MilmError(run.lockPath, "expected no other job in this run, found \(try holder(run.lockPath))")
    }
    let start = Date().formatted(.iso8601)
    let content = "pid=\(getpid()) host=\(Host.name) start=\(start)\n"
    try file.truncate(to: 0)
    try Array(content.utf8).withUnsafeBytes { try file.write($0) }
    return file
  }

  deinit {
    file.withLock { $0.unlock() }
  }

  /// The holder's process and host, which it writes an instant after locking.
  private static func holder(_ path: String) throws -> String {
    let content = try OpenFile.reading(path).readAll(limit: 4096)
    let text = String(decoding: content, as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines)
    return text.isEmpty ? "one that is starting" : text
  }
}
