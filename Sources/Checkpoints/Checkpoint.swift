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

  /// Reads and verifies the `state.json` of a checkpoint directory.
  package init(directory path: String) throws {
    self.path = path
    state = try CheckpointState(contentsOf: "\(path)/\(stateFileName)")
  }

  /// The checkpoint at a location in a run, whose step must be that in `state.json`.
  init(at location: CheckpointLocation) throws {
    guard case .directory = try FileEntry(at: location.path) else {
      throw MilmError(location.path, "expected the directory of a checkpoint")
    }
    try self.init(directory: location.path)
    guard state.step == location.step else {
      throw MilmError(path, "expected a checkpoint of step \(location.step), found step \(state.step)")
    }
  }

  /// Opens a checkpoint directory, or `best` of a run directory if there is one, else `last`.
  ///
  /// Only `state.json` is verified; see `verify()`.
  package static func open(_ path: String) throws -> Checkpoint {
    if case .file = try FileEntry(at: "\(path)/\(stateFileName)") {
      return try Checkpoint(directory: path)
    }
    let run = RunDirectory(path: path)
    guard let location = try run.location(of: .best) ?? run.location(of: .last) else {
      throw MilmError(path, "expected a checkpoint or a run that has one, found neither")
    }
    return try Checkpoint(at: location)
  }

  /// Reads every file and throws if its length or sha256 differs from that in `state.json`.
  package func verify() throws {
    for (name, expected) in state.files.sorted(by: { $0.key < $1.key }) {
      let filePath = "\(path)/\(name)"
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
    return try SafetensorsFile(path: "\(path)/\(part.fileName)")
  }
}
