import Checkpoints
import Foundation
import LanguageModel
import Layers
import Platform
import Tensors

/// A model with the weights of a checkpoint.
public struct LoadedModel: Sendable {
  /// The checkpoint's configuration.
  public let configuration: RunConfiguration
  /// The model.
  public let model: LanguageModel
  /// Its weights.
  public let weights: ParameterBuffer

  /// Loads a checkpoint's model; throws where a tensor is missing, or has another shape
  /// than its configuration says.
  public init(_ checkpoint: Checkpoint) throws {
    configuration = try RunConfiguration(
      yaml: checkpoint.state.configuration, source: "the configuration in \(checkpoint.path)")
    let file = try checkpoint.tensors(.model)
    let table = "embedding.weight"
    let shape = try file.shape(of: table)
    guard shape.count == 2, shape[1] == configuration.model.embedding else {
      throw MilmError(
        "\(file.path): expected \(table) of shape V × \(configuration.model.embedding), found \(shape)")
    }
    model = LanguageModel(configuration.model, vocabularySize: shape[0])
    // Before memory is taken for what a configuration claims, the file must have it.
    try model.parameters.requireShapes(in: file)
    weights = ParameterBuffer(model.parameters)
    try weights.load(from: file)
  }

  /// A model of the same sizes whose weights are still to come.
  init(configuration: RunConfiguration, vocabularySize: Int) {
    self.configuration = configuration
    model = LanguageModel(configuration.model, vocabularySize: vocabularySize)
    weights = ParameterBuffer(model.parameters)
  }
}

extension ParameterList {
  /// Throws where a tensor of the list is missing in a file or has another shape there.
  func requireShapes(in file: SafetensorsFile, prefix: String = "") throws {
    for parameter in parameters {
      let name = prefix + parameter.name
      let shape = try file.shape(of: name)
      guard shape == parameter.shape else {
        throw MilmError("\(file.path): expected \(name) of shape \(parameter.shape), found \(shape)")
      }
    }
  }
}

extension ParameterBuffer {
  /// Copies every tensor of the list out of a file, by name;
  /// throws where one is missing or has another shape.
  func load(from file: SafetensorsFile, prefix: String = "") throws {
    try list.requireShapes(in: file, prefix: prefix)
    for parameter in list.parameters {
      let name = prefix + parameter.name
      let matrix = self[parameter]
      try file.copy(name, into: UnsafeMutableBufferPointer(start: matrix.data, count: matrix.count))
    }
  }

  /// Every tensor as a checkpoint writes it.
  func tensorBytes(prefix: String = "") -> [TensorBytes] {
    list.parameters.map { parameter in
      let matrix = self[parameter]
      return TensorBytes(
        name: prefix + parameter.name, shape: parameter.shape,
        floats: UnsafeBufferPointer(start: matrix.data, count: matrix.count))
    }
  }
}
