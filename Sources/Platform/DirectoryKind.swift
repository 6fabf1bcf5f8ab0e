import Foundation

/// The kinds of directories that milm writes; each is known by entries that the others do not have.
package enum DirectoryKind: String, CaseIterable, Sendable {
  case corpus, run, checkpoint, study, sweep

  private var marks: [String] {
    switch self {
    case .corpus: ["corpus.json"]
    case .run: ["config.yaml", "checkpoints"]
    case .checkpoint: ["state.json", "model.safetensors"]
    case .study: ["config.json", "settings"]
    case .sweep: ["sweep.json"]
    }
  }

  /// Whether there is one of this kind at `path`.
  package func matches(_ path: String) -> Bool {
    marks.allSatisfy { FileManager.default.fileExists(atPath: "\(path)/\($0)") }
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
      if other.matches(path) {
        throw MilmError(path, "expected \(expected) to write, found a \(other.rawValue)")
      }
    }
  }
}
