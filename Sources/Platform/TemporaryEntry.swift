import Foundation
import Synchronization

/// A file or directory under a temporary name, removed with its owner unless it gets its own name before.
///
/// A signal that ends the process removes all of them: see `endProcess(_:)`.
package final class TemporaryEntry: Sendable {
  /// Where it is until then.
  package let path: String
  /// The directories above that were made for it, the lowest first; they go with it where they are empty.
  private let newParents: [String]
  /// The process's entries, by path.
  private static let all = Mutex<[String: [String]]>([:])

  /// An entry that is about to be created at `path`.
  package init(_ path: String, newParents: [String] = []) {
    self.path = path
    self.newParents = newParents
    Self.all.withLock { $0[path] = newParents }
  }

  deinit {
    Self.all.withLock { entries in
      guard entries.removeValue(forKey: path) != nil else { return }
      Self.remove(path, newParents)
    }
  }

  /// Calls `publish`, which gives the entry its own name; from then on it stays.
  ///
  /// A signal ends the process before or after, not within.
  package func finish<Failure: Error>(_ publish: () throws(Failure) -> Void) throws(Failure) {
    try Self.all.withLock { entries throws(Failure) in
      try publish()
      entries[path] = nil
    }
  }

  /// Removes the temporary entries of this process and calls `end`; no entry is made or gets its name meanwhile.
  package static func endProcess(_ end: () -> Never) -> Never {
    all.withLock { entries in
      for (path, newParents) in entries { remove(path, newParents) }
      end()
    }
  }

  private static func remove(_ path: String, _ newParents: [String]) {
    // Most are files. Other threads may still be writing into a directory.
    if unlink(path) != 0, errno == EISDIR || errno == EPERM {
      for _ in 0..<3 where access(path, F_OK) == 0 { try? removeEntry(path) }
    }
    for parent in newParents { rmdir(parent) }
  }
}
