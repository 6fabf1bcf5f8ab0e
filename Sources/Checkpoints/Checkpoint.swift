import Foundation
import Platform

/// A part of a checkpoint that holds tensors: one safetensors file.
package struct CheckpointPart: RawRepresentable, Hashable, Sendable {
  /// The file's name without `.safetensors`.
  package let rawValue: String

  /// The part in `NAME.safetensors`.
  package init(rawValue: String) {
    self.rawValue = rawValue
  }

  /// The parameters.
  package static let model = CheckpointPart(rawValue: "model")
  /// The optimizer's state.
  package static let optimizer = CheckpointPart(rawValue: "optimizer")
  /// The carried state of every lane.
  package static let carry = CheckpointPart(rawValue: "carry")
  /// The error-feedback residuals; absent when all are zero.
  package static let exchange = CheckpointPart(rawValue: "exchange")

  /// The file's name in a checkpoint.
  package var fileName: String { "\(rawValue).safetensors" }
}

/// One safetensors file of a checkpoint to be written.
package struct CheckpointFile {
  /// The part that it holds.
  package let part: CheckpointPart
  /// The texts of its `__metadata__`.
  package let metadata: [String: String]
  /// Its tensors, in file order.
  package let tensors: [TensorBytes]

  /// A file over tensors in the caller's memory.
  package init(_ part: CheckpointPart, metadata: [String: String] = [:], tensors: [TensorBytes]) {
    self.part = part
    self.metadata = metadata
    self.tensors = tensors
  }
}

/// A complete checkpoint whose `state.json` has been verified; `verify()` verifies the other files.
package struct Checkpoint: Sendable {
  /// The checkpoint's directory.
  package let path: String
  /// The content of its `state.json`.
  package let state: CheckpointState
  /// Whether a file may be one link to a regular file.
  private let followsLinks: Bool

  /// Reads and verifies the `state.json` of a checkpoint directory.
  ///
  /// A run reads its own files alone. Where a user names a checkpoint to read, `followsLinks` lets each file be one link to a
  /// regular file.
  package init(directory path: String, followsLinks: Bool = false) throws {
    self.path = path
    self.followsLinks = followsLinks
    let file = "\(path)/\(stateFileName)"
    state = try CheckpointState(contentsOf: followsLinks ? followingOneLink(file) : file)
  }

  /// The checkpoint at a location in a run, whose step must be that in `state.json`.
  init(at location: CheckpointLocation, followsLinks: Bool = false) throws {
    guard case .directory = try FileEntry(at: location.path) else {
      throw MilmError(location.path, "expected the directory of a checkpoint")
    }
    try self.init(directory: location.path, followsLinks: followsLinks)
    guard state.step == location.step else {
      throw MilmError(path, "expected a checkpoint of step \(location.step), found step \(state.step)")
    }
  }

  /// Whether a directory has the `state.json` of a checkpoint.
  static func isCheckpoint(_ path: String) throws -> Bool {
    switch try FileEntry(at: "\(path)/\(stateFileName)") {
    case .file, .symbolicLink: true
    default: false
    }
  }

  /// Opens the checkpoint that a path means: see `CheckpointChoice`.
  package static func open(_ path: String) throws -> Checkpoint { try CheckpointChoice(path).checkpoint }

  /// Reads every file and throws if its length or sha256 differs from that in `state.json`.
  package func verify() throws {
    for (name, expected) in state.files.sorted(by: { $0.key < $1.key }) {
      let filePath = try file(name)
      let byteCount = try OpenFile.reading(filePath).byteCount()
      guard byteCount == expected.byteCount else {
        throw MilmError(filePath, "expected \(expected.byteCount) bytes, found \(byteCount)")
      }
      guard try FileDigest(ofFile: filePath) == expected else {
        throw MilmError(filePath, "its sha256 differs from that in \(stateFileName): the file is corrupted")
      }
    }
  }

  /// Whether the checkpoint has this part.
  package func contains(_ part: CheckpointPart) -> Bool {
    state.files[part.fileName] != nil
  }

  /// Opens the tensors of a part; throws if the checkpoint does not have it.
  package func tensors(_ part: CheckpointPart) throws -> SafetensorsFile {
    guard contains(part) else {
      throw MilmError(path, "expected \(part.fileName) in this checkpoint, found none")
    }
    return try SafetensorsFile(path: file(part.fileName))
  }

  private func file(_ name: String) throws -> String {
    let filePath = "\(path)/\(name)"
    return followsLinks ? try followingOneLink(filePath) : filePath
  }
}
