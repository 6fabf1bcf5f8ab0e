import Checkpoints
import Corpus
import Foundation
import Layers
import Platform
import Tensors

/// The weights that a new run starts from, on rank 0: those of a checkpoint, of a run's best one, or of a safetensors file.
///
/// They may lack tensors of the model, which then keep their initial values. Where the vocabulary differs, rows are mapped
/// by token.
struct InitialWeights {
  private let file: SafetensorsFile
  private let sha256: String
  private let vocabulary: Vocabulary
  /// The vocabulary of the weights; nil where it is that of the run.
  private let earlier: Vocabulary?

  /// Opens and verifies the weights at a path, for a run with a vocabulary.
  init(_ path: String, for vocabulary: Vocabulary) throws {
    self.vocabulary = vocabulary
    let hash: String?
    let places: [String]
    if case .file = try FileEntry(at: path, followingLinks: true) {
      let url = URL(filePath: path).resolvingSymlinksInPath()
      file = try SafetensorsFile(path: url.path)
      sha256 = try FileDigest(ofFile: url.path).sha256
      hash = file.metadata["vocabulary"]
      let folder = url.deletingLastPathComponent()
      // Beside the file, or in the run whose checkpoint has it.
      places = [folder, folder.deletingLastPathComponent().deletingLastPathComponent()].map {
        $0.appendingPathComponent("vocabulary.txt").path
      }
    } else {
      let checkpoint = try Checkpoint.open(path)
      try checkpoint.verify()
      file = try checkpoint.tensors(.model)
      sha256 = checkpoint.state.files[CheckpointPart.model.fileName]?.sha256 ?? ""
      hash = checkpoint.state.vocabularyHash
      places = ["\(checkpoint.path)/vocabulary.txt", RunDirectory(of: checkpoint).vocabularyPath]
    }
    earlier =
      hash == vocabulary.hash
      ? nil : try Self.vocabulary(of: file, hash: hash, among: hash == nil ? Array(places.prefix(1)) : places)
  }

  /// The vocabulary of weights whose hash is `hash`, nil where they do not say; nil where there is none and the weights do not
  /// say that it differs.
  private static func vocabulary(
    of file: SafetensorsFile, hash: String?, among places: [String]
  ) throws -> Vocabulary? {
    for place in places {
      guard case .file = try FileEntry(at: place, followingLinks: true) else { continue }
      let vocabulary = try Vocabulary(contentsOf: URL(filePath: place))
      if hash == nil || vocabulary.hash == hash { return vocabulary }
    }
    guard let hash else { return nil }
    throw MilmError(
      file.path, expected: "its vocabulary with hash \(hash), to find the rows of the run's tokens",
      found: "none",
      at: places.joined(separator: ", "))
  }

  /// Copies the weights; throws where a tensor does not fit, before anything is copied.
  func load(into parameters: ParameterBuffer) throws -> CheckpointState.InitialWeights {
    let list = parameters.list.parameters
    for name in file.names where !list.contains(where: { $0.name == name }) {
      throw MilmError(
        file.path, expected: "tensors of the run's model",
        found: "\(name) of shape \(try file.shape(of: name)), which it does not have")
    }
    let present = list.filter { file.contains($0.name) }
    guard !present.isEmpty else {
      throw MilmError(file.path, expected: "tensors of the run's model", found: "none")
    }
    for parameter in present { try requireFit(parameter) }
    let rows = earlier.map { earlier in
      vocabulary.words.enumerated().compactMap { row, word -> (Int, Int)? in
        earlier.contains(word) ? (row, Int(earlier.id(of: word))) : nil
      }
    }
    for parameter in present {
      try copy(parameter, rows: rows, to: parameters[parameter])
      guard parameters.isFinite(parameter) else {
        throw MilmError(
          "\(file.path): expected finite weights, found others in \(parameter.name): the model has diverged")
      }
    }
    return .init(
      path: file.path, sha256: sha256, newTensors: list.map(\.name).filter { !file.contains($0) },
      commonTokens: rows?.count)
  }

  private func requireFit(_ parameter: Parameter) throws {
    let found = try file.shape(of: parameter.name)
    var expected = parameter.shape
    if let earlier, parameter.elementsPerToken != nil { expected[0] = earlier.count }
    guard found != expected else { return }
    throw MilmError(
      file.path, "expected \(parameter.name) of shape \(expected), as in the run's model, found \(found)")
  }

  /// Copies a tensor, or of one with rows for tokens the rows of common tokens: pairs of a row here and a row in the file.
  private func copy(_ parameter: Parameter, rows: [(Int, Int)]?, to matrix: Matrix) throws {
    guard let rows, let width = parameter.elementsPerToken else {
      return try file.copy(
        parameter.name, into: UnsafeMutableBufferPointer(start: matrix.data, count: matrix.count))
    }
    try file.withFloats(of: parameter.name) { floats in
      guard let source = floats.baseAddress else { return }
      for (row, other) in rows {
        (matrix.data + row * width).update(from: source + other * width, count: width)
      }
    }
  }
}
