import Foundation

/// A folder of one test, removed with all that is in it when the test lets go of it.
public final class TemporaryFolder: Sendable {
  /// Where it is.
  public let path: String

  /// A new empty folder, in memory where it can be: tests of damage write tens of thousands of files.
  ///
  /// Tests that write many megabytes are better off with `inMemory` false:
  /// containers have little such memory.
  public init(inMemory: Bool = true) throws {
    let parent = inMemory && access("/dev/shm", W_OK) == 0 ? "/dev/shm" : NSTemporaryDirectory()
    path = "\(parent)/milm-test-\(UUID().uuidString)"
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
  }

  deinit {
    try? FileManager.default.removeItem(atPath: path)
  }

  /// A path in the folder.
  public func file(_ name: String) -> String { "\(path)/\(name)" }

  /// The same as a URL.
  public func url(_ name: String) -> URL { URL(filePath: file(name)) }

  /// Writes a file in the folder and gives its place.
  @discardableResult
  public func write(_ text: String, to name: String) throws -> URL {
    try write(Array(text.utf8), to: name)
  }

  /// Writes a file in the folder, of any bytes, and gives its place.
  @discardableResult
  public func write(_ bytes: [UInt8], to name: String) throws -> URL {
    try Data(bytes).write(to: url(name))
    return url(name)
  }

  /// The names of all that is in the folder, or in one of its folders, sorted.
  public func entries(_ name: String = ".") throws -> [String] {
    try FileManager.default.contentsOfDirectory(atPath: file(name)).sorted()
  }
}
