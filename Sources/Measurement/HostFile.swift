import Foundation

/// What the kernel says of this host in its files.
enum HostFile {
  /// The text of a file; empty where there is none.
  static func text(_ path: String) -> String { (try? String(contentsOfFile: path, encoding: .utf8)) ?? "" }

  /// The value of the first `name : value` line; nil where there is none.
  static func value(of name: String, in text: String) -> String? {
    text.split(separator: "\n").lazy.compactMap { line -> String? in
      let parts = line.split(separator: ":", maxSplits: 1).map { $0.trimmingCharacters(in: .whitespaces) }
      return parts.count == 2 && parts[0] == name ? parts[1] : nil
    }.first
  }

  /// Bytes of a line of `/proc/meminfo`, such as `MemAvailable`.
  static func memory(_ name: String, in text: String) -> Int? {
    value(of: name, in: text)?.split(separator: " ").first.flatMap { Int($0) }.map { $0 * 1024 }
  }

  /// Free bytes of the file system of a folder; nil where it cannot be asked.
  static func freeByteCount(_ folder: String) -> Int? {
    let attributes = try? FileManager.default.attributesOfFileSystem(forPath: folder)
    return (attributes?[.systemFreeSize] as? NSNumber)?.intValue
  }
}
