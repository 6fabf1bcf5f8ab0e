import Checkpoints
import Corpus
import Foundation
import LanguageModel
import Layers
import Platform
import Tensors

/// Weights that another program has trained, as a run of milm with one checkpoint, of step 0.
///
/// Sizes, variant and form of the model follow from the tensors. The checkpoint has parameters only: it can be evaluated,
/// sampled from and started from, but not resumed.
package struct WeightImport {
  /// The model that the tensors make.
  package let model: LanguageModel
  /// Tensors of the file that the model does not have.
  package let unread: [String]

  private let weights: ParameterBuffer
  private let vocabulary: Vocabulary
  private let isTokenized: Bool

  /// Reads the weights in a safetensors file; `entries` are those of a `TensorMap`.
  package init(
    of path: String, entries: [String], vocabulary: Vocabulary, isTokenized: Bool
  ) throws {
    self.vocabulary = vocabulary
    self.isTokenized = isTokenized
    let map = try TensorMap(entries, of: SafetensorsFile(path: path))
    let table = try map.shape(of: "embedding.weight")
    guard table.count == 2, table[0] == vocabulary.count else {
      throw MilmError(
        path, expected: "embedding.weight with a row for each of the \(vocabulary.count) words",
        found: "shape \(table)")
    }
    let configuration = try ModelConfiguration(map, path: path)
    model = LanguageModel(configuration, vocabularySize: vocabulary.count)
    try map.requireNames(in: model.parameters)
    weights = ParameterBuffer(model.parameters)
    for parameter in model.parameters.parameters { try map.load(parameter, into: weights) }
    unread = map.unread(by: model.parameters)
  }

  /// Writes the run, which must not be there yet; returns the path of its checkpoint.
  package func write(to output: String) throws -> String {
    try DirectoryKind.run.requireOutput(output)
    let run = RunDirectory(path: output)
    guard try !run.holdsRun() else {
      throw MilmError("\(output) already holds a run: expected a new directory")
    }
    let footprint = try RunFootprint(run)
    do {
      try run.create()
      let store = try CheckpointStore(lock: RunLock(run))
      var configuration = RunConfiguration()
      configuration.model = model.configuration
      let state = try state(configuration)
      try run.writeConfiguration(configuration.yaml)
      try vocabulary.write(to: URL(filePath: run.vocabularyPath))
      let file = CheckpointFile(weights, of: configuration, state)
      return try store.write(files: [file], state: state).path
    } catch {
      footprint.restore()
      throw error
    }
  }

  private func state(_ configuration: RunConfiguration) throws -> CheckpointState {
    let engine = try ComputeEngine(threadCount: 1)
    var state = CheckpointState(
      step: 0, segmentIndex: 0, tokenCount: 0, rankCount: 1, threadCount: 1, engine: engine.name,
      cpuLevel: engine.cpuLevel, precision: engine.precision.rawValue, programVersion: programVersion,
      configuration: configuration.yaml, vocabularyHash: vocabulary.hash)
    state.isTokenized = isTokenized
    return state
  }
}

extension ModelConfiguration {
  /// The configuration of which a file has the tensors.
  fileprivate init(_ map: TensorMap, path: String) throws {
    self.init()
    func width(_ name: String, _ axis: Int) throws -> Int {
      let shape = try map.shape(of: name)
      guard shape.count == 2 else {
        throw MilmError(path, expected: "\(name) of two dimensions", found: "shape \(shape)")
      }
      return shape[axis]
    }
    embedding = try width("embedding.weight", 1)
    guard map.contains("lstm.weight_hh") else {
      throw MilmError(
        path, expected: "lstm.weight_hh of lstm, multdec or multencdec, which alone can be imported",
        found: "none")
    }
    hidden = try width("lstm.weight_hh", 1)
    let contexts = ["decoder", "encoder"].map { map.contains("\($0).context.weight") }
    variant = contexts == [false, false] ? .lstm : contexts[1] ? .multencdec : .multdec
    if variant != .lstm {
      decoderContext = try width("decoder.context.weight", 0)
      form = try Self.form(map, path: path)
      if form == .lowrank { rank = try width("decoder.A", 1) }
    }
    if variant == .multencdec { encoderContext = try width("encoder.context.weight", 0) }
    // The same limits as for a configuration that a user writes.
    var whole = RunConfiguration()
    whole.model = self
    _ = try RunConfiguration(yaml: whole.yaml, source: "the sizes in \(path)")
  }

  private static func form(_ map: TensorMap, path: String) throws(MilmError) -> InteractionKind {
    let marks: [(String, InteractionKind)] = [
      ("decoder.W", .full), ("decoder.A", .lowrank), ("decoder.D", .diagonal), ("decoder.s", .scalar),
    ]
    guard let form = marks.first(where: { map.contains($0.0) })?.1 else {
      throw MilmError(
        path, expected: "one of the tensors \(marks.map(\.0).joined(separator: ", "))", found: "none")
    }
    return form
  }
}
