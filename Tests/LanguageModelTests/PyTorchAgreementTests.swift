import Checkpoints
import Foundation
import LanguageModel
import Layers
import Tensors
import Testing

/// Losses, gradients and carried state against `Tests/Reference/make_fixtures.py`.
@Suite struct PyTorchAgreementTests {
  static let fixtures =
    ["lstm-full", "txl-full", "txl-multdec-full", "txl-mi-full"]
    + ["multdec", "multencdec"].flatMap { variant in
      InteractionKind.allCases.map { "\(variant)-\($0.rawValue)" }
    }

  private struct Fixture {
    let file: SafetensorsFile
    let configuration: ModelConfiguration
    let vocabularySize: Int
    let segmentCount: Int
    let stepCount: Int
    let laneCount: Int

    init(_ name: String) throws {
      let url = try #require(
        Bundle.module.url(forResource: name, withExtension: "safetensors", subdirectory: "Fixtures"))
      let file = try SafetensorsFile(path: url.path)
      func number(_ key: String) throws -> Int { try #require(file.metadata[key].flatMap { Int($0) }) }
      self.file = file
      var configuration = ModelConfiguration()
      configuration.variant = try #require(
        ModelConfiguration.Variant(rawValue: file.metadata["variant"] ?? ""))
      configuration.form = try #require(InteractionKind(rawValue: file.metadata["form"] ?? ""))
      configuration.embedding = try number("embedding")
      configuration.hidden = try number("hidden")
      configuration.decoderContext = try number("decoderContext")
      configuration.encoderContext = try number("encoderContext")
      configuration.rank = try number("rank")
      if file.metadata["layers"] != nil {
        configuration.layers = try number("layers")
        configuration.width = try number("width")
        configuration.heads = try number("heads")
        configuration.inner = try number("inner")
        configuration.memory = try number("memory")
      }
      configuration.inputDropout = 0
      configuration.outputDropout = 0
      configuration.hiddenDropout = 0
      self.configuration = configuration
      vocabularySize = try number("vocabulary")
      segmentCount = try number("segments")
      stepCount = try number("segment")
      laneCount = try number("lanes")
    }

    func copy(_ name: String, into matrix: Matrix) throws {
      try file.copy(name, into: UnsafeMutableBufferPointer(start: matrix.data, count: matrix.count))
    }

    func has(_ name: String) -> Bool { file.contains(name) }

    func floats(_ name: String) throws -> [Float] {
      try file.withFloats(of: name) { Array($0) }
    }

    func tokens(_ name: String, in arena: Arena) throws -> Vector<Int32> {
      let numbers = try floats(name)
      let vector = arena.vector(of: Int32.self, count: numbers.count)
      for (index, number) in numbers.enumerated() { vector[index] = Int32(number) }
      return vector
    }
  }

  /// All logits in one chunk or a row at a time; the reference engine, or the fast one on two threads.
  static let settings = [
    (1 << 20, ComputeEngine.Library.openBLAS, 1), (1, .openBLAS, 1), (1 << 20, .automatic, 2),
    (1, .automatic, 2),
  ]

  @Test(arguments: fixtures, settings)
  func lossesGradientsAndStateAgree(
    name: String, setting: (logitsByteBudget: Int, library: ComputeEngine.Library, threadCount: Int)
  ) throws {
    let fixture = try Fixture(name)
    let engine = try ComputeEngine(threadCount: setting.threadCount, library: setting.library)
    let model = LanguageModel(fixture.configuration, vocabularySize: fixture.vocabularySize)
    let weights = ParameterBuffer(model.parameters)
    let gradients = ParameterBuffer(model.parameters)
    for parameter in model.parameters.parameters {
      #expect(try fixture.file.shape(of: "parameter.\(parameter.name)") == parameter.shape)
      try fixture.copy("parameter.\(parameter.name)", into: weights[parameter])
    }
    let pass = SegmentPass(
      model, parameters: weights, stepCount: fixture.stepCount, laneCount: fixture.laneCount,
      accumulation: fixture.segmentCount, engine: engine, logitsByteBudget: setting.logitsByteBudget)
    for part in pass.carriedState.parts where fixture.has("state.\(part.name)") {
      try fixture.copy("state.\(part.name)", into: part.values)
    }

    let arena = Arena()
    let inputs = try fixture.tokens("tokens.inputs", in: arena)
    let targets = try fixture.tokens("tokens.targets", in: arena)
    let rowCount = fixture.stepCount * fixture.laneCount
    let losses = try (0..<fixture.segmentCount).map { index in
      let rows = index * rowCount..<(index + 1) * rowCount
      let segment = Segment(
        inputs: inputs[rows], targets: targets[rows], firstLane: 0, firstTime: 0, key: RandomKey(seed: 1))
      let sum = try pass.accumulate(
        segment, index: index, lossScale: 1 / Float(rowCount), gradients: gradients,
        sink: LocalGradientSink(adding: gradients[model.tiedMatrix], engine: engine))
      return Float(sum / Double(rowCount))
    }

    expectClose(losses, try fixture.floats("losses"), "losses")
    for part in pass.carriedState.parts where part.name != "filled" {
      let name = ["h": "finalH", "c": "finalC"][part.name] ?? "final.\(part.name)"
      expectClose(part.values.elements, try fixture.floats("state.\(name)"), part.name)
    }
    for parameter in model.parameters.parameters {
      expectClose(
        gradients[parameter].elements, try fixture.floats("gradient.\(parameter.name)"), parameter.name)
    }
  }

  @Test(arguments: fixtures)
  func scoresAgree(name: String) throws {
    let fixture = try Fixture(name)
    let engine = ComputeEngine()
    let model = LanguageModel(fixture.configuration, vocabularySize: fixture.vocabularySize)
    let weights = ParameterBuffer(model.parameters)
    for parameter in model.parameters.parameters {
      try fixture.copy("parameter.\(parameter.name)", into: weights[parameter])
    }
    let arena = Arena()
    let inputs = try fixture.tokens("tokens.inputs", in: arena)
    let targets = try fixture.tokens("tokens.targets", in: arena)
    let rowCount = fixture.stepCount * fixture.laneCount
    // The scorer starts from the zero state, so it is compared with a pass from there that reads as scorers do.
    let pass = SegmentPass(
      model, parameters: weights, stepCount: fixture.stepCount, laneCount: fixture.laneCount, accumulation: 1,
      engine: engine, purpose: .dynamicEvaluation)
    let scorer = Scorer(
      model, parameters: weights, stepCount: fixture.stepCount, streamCount: fixture.laneCount,
      engine: engine)
    for index in 0..<fixture.segmentCount {
      let rows = index * rowCount..<(index + 1) * rowCount
      let whole = scorer.score(inputs: inputs[rows], targets: targets[rows], rowCount: rowCount)
      let gradients = ParameterBuffer(model.parameters)
      let sum = try pass.accumulate(
        Segment(
          inputs: inputs[rows], targets: targets[rows], firstLane: 0, firstTime: 0,
          key: RandomKey(seed: 1)),
        index: 0, lossScale: 1, gradients: gradients, sink: nil)
      #expect(abs(whole.elements.reduce(0, +) - sum) < 1e-5 * sum)
    }
  }

  /// The largest difference is at most 1e-4 of the largest entry.
  private func expectClose(_ found: [Float], _ expected: [Float], _ name: String) {
    let largest = expected.map { abs($0) }.max() ?? 0
    let difference = zip(found, expected).map { abs($0 - $1) }.max() ?? .infinity
    #expect(found.count == expected.count)
    #expect(difference <= 1e-4 * largest, "\(name): off by \(difference), largest entry \(largest)")
  }
}
