import Checkpoints
import Communication
import LanguageModel
import Layers
import Platform
import Tensors

/// A model with the weights of a checkpoint.
package struct LoadedModel: Sendable {
  package let model: LanguageModel
  package let weights: ParameterBuffer

  /// Loads a checkpoint's weights; throws where a tensor is missing or its shape differs from the configuration's.
  package init(_ checkpoint: Checkpoint, configuration: ModelConfiguration) throws {
    let file = try checkpoint.tensors(.model)
    let table = "embedding.weight"
    let shape = try file.shape(of: table)
    guard shape.count == 2, shape[1] == configuration.embedding else {
      throw MilmError(
        "\(file.path): expected \(table) of shape V × \(configuration.embedding), found \(shape)")
    }
    model = LanguageModel(configuration, vocabularySize: shape[0])
    // Checked before memory of the configured size is allocated.
    try model.parameters.requireShapes(in: file)
    weights = ParameterBuffer(model.parameters)
    try weights.load(from: file)
    for parameter in model.parameters.parameters where !weights.isFinite(parameter) {
      throw MilmError(
        "\(file.path): expected finite weights, found others in \(parameter.name): the model has diverged")
    }
  }

  /// The model that rank 0 has loaded, broadcast to all ranks.
  init(ofRank0 loaded: LoadedModel?, configuration: ModelConfiguration, ranks: Ranks) throws {
    let size = try ranks.control.maximum("vocabulary size", UInt64(loaded?.model.vocabularySize ?? 0))
    model = loaded?.model ?? LanguageModel(configuration, vocabularySize: Int(size))
    weights = loaded?.weights ?? ParameterBuffer(model.parameters)
    try ranks.control.broadcast("weights", over: weights.flat.bytes, from: Ranks.coordinator)
  }
}
