import Foundation

/// The kinds of directories that milm writes; each is known by entries that the others do not have.
package enum DirectoryKind: String, CaseIterable, Sendable {
  case corpus, run, checkpoint, study

  private var marks: [String] {
    switch self {
    case .corpus: ["corpus.json"]
    case .run: ["config.yaml", "checkpoints"]
    case .checkpoint: ["state.json", "model.safetensors"]
    case .study: ["config.json", "settings"]
    }
  }

  /// Throws if the output path holds a file or a milm directory of another kind.
  package func requireOutput(_ path: String) throws(MilmError) {
    let expected = "a new directory or a \(rawValue)"
    guard isDirectory(path) else {
      guard case .absent = try FileEntry(at: path) else {
        throw MilmError(path, "expected \(expected) to write, found a file")
      }
      return
    }
    for other in Self.allCases where other != self {
      if other.marks.allSatisfy({ FileManager.default.fileExists(atPath: "\(path)/\($0)") }) {
        throw MilmError(path, "expected \(expected) to write, found a \(other.rawValue)")
      }
    }
  }
}
