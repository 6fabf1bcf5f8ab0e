import Foundation
import Platform

/// A part of a checkpoint that holds tensors, one safetensors file.
public struct CheckpointPart: RawRepresentable, Hashable, Sendable {
  /// The file's name without `.safetensors`.
  public let rawValue: String

  /// The part in the file of this name and `.safetensors`.
  public init(rawValue: String) {
    self.rawValue = rawValue
  }

  /// The parameters.
  public static let model = CheckpointPart(rawValue: "model")
  /// The optimizer's state.
  public static let optimizer = CheckpointPart(rawValue: "optimizer")
  /// The LSTM state of every lane.
  public static let carry = CheckpointPart(rawValue: "carry")
  /// The residuals of error feedback; absent when all are zero.
  public static let exchange = CheckpointPart(rawValue: "exchange")

  /// The file's name in a checkpoint.
  public var fileName: String { "\(rawValue).safetensors" }
}

/// One safetensors file of a checkpoint to be written.
public struct CheckpointFile {
  /// Which file of the checkpoint it is.
  public let part: CheckpointPart
  /// The texts of its `__metadata__`.
  public let metadata: [String: String]
  /// Its tensors, in the order they are written.
  public let tensors: [TensorBytes]

  /// A file over tensors in the caller's memory.
  public init(_ part: CheckpointPart, metadata: [String: String] = [:], tensors: [TensorBytes]) {
    self.part = part
    self.metadata = metadata
    self.tensors = tensors
  }
}

/// A complete checkpoint whose `state.json` has been read and checked; the other files are checked by
/// `verify()`.
public struct Checkpoint: Sendable {
  /// The checkpoint's directory.
  public let path: String
  /// The content of its `state.json`.
  public let state: CheckpointState

  /// Reads the `state.json` of a checkpoint's directory; throws `MilmError`.
  public init(directory path: String) throws {
    self.path = path
    state = try CheckpointState(contentsOf: "\(path)/\(stateFileName)")
  }

  /// The checkpoint at its place in a run, whose name must tell the step in its `state.json`.
  init(at location: CheckpointLocation) throws {
    guard case .directory = try FileEntry(at: location.path) else {
      throw MilmError(location.path, "expected the directory of a checkpoint")
    }
    try self.init(directory: location.path)
    guard state.step == location.step else {
      throw MilmError(path, "expected a checkpoint of step \(location.step), found step \(state.step)")
    }
  }

  /// Opens a checkpoint's directory, or of a run's directory `best` if there is one, else `last`.
  ///
  /// Throws `MilmError`. Only `state.json` has been checked then; see `verify()`.
  public static func open(_ path: String) throws -> Checkpoint {
    if case .file = try FileEntry(at: "\(path)/\(stateFileName)") {
      return try Checkpoint(directory: path)
    }
    let run = RunDirectory(path: path)
    guard let location = try run.location(of: .best) ?? run.location(of: .last) else {
      throw MilmError(path, "expected a checkpoint or a run that has one, found neither")
    }
    return try Checkpoint(at: location)
  }

  /// Reads every file and throws `MilmError` unless its length and sha256 are those in `state.json`.
  public func verify() throws {
    for (name, expected) in state.files.sorted(by: { $0.key < $1.key }) {
      let filePath = "\(path)/\(name)"
      let byteCount = try OpenFile.reading(filePath).byteCount()
      guard byteCount == expected.byteCount else {
        throw MilmError(filePath, "expected \(expected.byteCount) bytes, found \(byteCount)")
      }
      guard try FileDigest(ofFile: filePath) == expected else {
        throw MilmError(filePath, "its sha256 is not the one in \(stateFileName): the file is damaged")
      }
    }
  }

  /// Whether the checkpoint has this part.
  public func contains(_ part: CheckpointPart) -> Bool {
    state.files[part.fileName] != nil
  }

  /// Opens a part's tensors; throws `MilmError`, also when the checkpoint has no such part.
  public func tensors(_ part: CheckpointPart) throws -> SafetensorsFile {
    guard contains(part) else {
      throw MilmError(path, "expected \(part.fileName) in this checkpoint, found none")
    }
    return try SafetensorsFile(path: "\(path)/\(part.fileName)")
  }
}
