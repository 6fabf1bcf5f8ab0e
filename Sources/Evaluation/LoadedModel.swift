import Checkpoints
import Communication
import Corpus
import Foundation
import LanguageModel
import Layers
import Platform
import Tensors

/// A model with the weights of a checkpoint.
public struct LoadedModel: Sendable {
  /// The model.
  public let model: LanguageModel
  /// Its weights.
  public let weights: ParameterBuffer

  /// Loads a checkpoint's model; throws where a tensor is missing, or has another shape
  /// than its configuration says.
  public init(_ checkpoint: Checkpoint, configuration: ModelConfiguration) throws {
    let file = try checkpoint.tensors(.model)
    let table = "embedding.weight"
    let shape = try file.shape(of: table)
    guard shape.count == 2, shape[1] == configuration.embedding else {
      throw MilmError(
        "\(file.path): expected \(table) of shape V × \(configuration.embedding), found \(shape)")
    }
    model = LanguageModel(configuration, vocabularySize: shape[0])
    // Before memory is taken for what a configuration claims, the file must have it.
    try model.parameters.requireShapes(in: file)
    weights = ParameterBuffer(model.parameters)
    try weights.load(from: file)
  }

  /// The model that rank 0 has loaded, on all ranks.
  init(ofRank0 loaded: LoadedModel?, configuration: ModelConfiguration, ranks: Ranks) throws {
    let size = try ranks.control.maximum("vocabulary size", UInt64(loaded?.model.vocabularySize ?? 0))
    model = loaded?.model ?? LanguageModel(configuration, vocabularySize: Int(size))
    weights = loaded?.weights ?? ParameterBuffer(model.parameters)
    try ranks.control.broadcast("weights", over: weights.flat.bytes, from: Ranks.coordinator)
  }
}

extension Checkpoint {
  /// The words of the model: those of `corpus`, or of the run that the checkpoint lies in;
  /// throws where they are not the model's.
  public func vocabulary(corpus: String?) throws -> Vocabulary {
    let folder = URL(filePath: path).deletingLastPathComponent().deletingLastPathComponent()
    let file = corpus.map { "\($0)/vocabulary.txt" } ?? RunDirectory(path: folder.path).vocabularyPath
    guard FileManager.default.fileExists(atPath: file) else {
      throw MilmError("no vocabulary at \(file): expected --corpus with the checkpoint's corpus")
    }
    let vocabulary = try Vocabulary(contentsOf: URL(filePath: file))
    guard vocabulary.hash == state.vocabularyHash else {
      throw MilmError(
        "\(file) is another vocabulary than that of \(path): expected hash \(state.vocabularyHash), "
          + "found \(vocabulary.hash)")
    }
    return vocabulary
  }
}
