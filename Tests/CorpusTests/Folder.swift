import Corpus
import Foundation

/// A temporary folder that is removed with its owner.
final class Folder {
  let url: URL

  init() throws {
    url = FileManager.default.temporaryDirectory.appendingPathComponent("corpus-tests-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
  }

  deinit { try? FileManager.default.removeItem(at: url) }

  func callAsFunction(_ name: String) -> URL { url.appendingPathComponent(name) }

  /// Writes a file and returns its place.
  @discardableResult
  func write(_ content: String, to name: String) throws -> URL {
    try write(Array(content.utf8), to: name)
  }

  @discardableResult
  func write(_ content: [UInt8], to name: String) throws -> URL {
    try Data(content).write(to: self(name))
    return self(name)
  }

  func entries(_ name: String = ".") throws -> [String] {
    try FileManager.default.contentsOfDirectory(atPath: self(name).path).sorted()
  }
}

/// Spellings byte by byte: Swift's strings are equal where Unicode calls them equivalent.
func spellings(_ words: [String]) -> [[UInt8]] { words.map { Array($0.utf8) } }

extension TokenSequence {
  /// All ids.
  var ids: [Int32] { (0..<count).map { self[$0] } }
}

/// What an operation throws, as the user sees it.
func message(_ operation: () throws -> Void) -> String? {
  do {
    try operation()
    return nil
  } catch {
    return "\(error)"
  }
}
