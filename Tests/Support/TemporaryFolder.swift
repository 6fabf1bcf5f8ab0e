import Foundation

/// A temporary directory, removed with its content when it is released.
package final class TemporaryFolder: Sendable {
  /// Its path.
  package let path: String

  /// A new empty directory, in memory if possible: fuzz tests write tens of thousands of files.
  ///
  /// Tests that write many megabytes should pass false for `inMemory`, of which containers have little.
  package init(inMemory: Bool = true) throws {
    let parent = inMemory && access("/dev/shm", W_OK) == 0 ? "/dev/shm" : NSTemporaryDirectory()
    path = "\(parent)/milm-test-\(UUID().uuidString)"
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
  }

  deinit {
    try? FileManager.default.removeItem(atPath: path)
  }

  /// The path of an entry.
  package func file(_ name: String) -> String { "\(path)/\(name)" }

  /// The URL of an entry.
  package func url(_ name: String) -> URL { URL(filePath: file(name)) }

  /// Writes a text file and returns its URL.
  @discardableResult
  package func write(_ text: String, to name: String) throws -> URL {
    try write(Array(text.utf8), to: name)
  }

  /// Writes a file and returns its URL.
  @discardableResult
  package func write(_ bytes: [UInt8], to name: String) throws -> URL {
    try Data(bytes).write(to: url(name))
    return url(name)
  }

  /// The sorted names of the entries of the directory, or of one of its directories.
  package func entries(_ name: String = ".") throws -> [String] {
    try FileManager.default.contentsOfDirectory(atPath: file(name)).sorted()
  }
}
