import LanguageModel
import Layers
import Platform
import Tensors
import TestSupport
import Testing

/// Dynamic evaluation against a training pass whose parameters the test updates itself.
@Suite struct DynamicScorerTests {
  private static let vocabularySize = 11
  private static let stepCount = 6
  private static let segmentCount = 4
  private let engine = ComputeEngine()
  private let arena = Arena()
  private let model: LanguageModel
  private let parameters: ParameterBuffer
  private let tokens: Vector<Int32>

  /// The model has dropout, which scoring must not apply.
  init() {
    var configuration = ModelConfiguration()
    configuration.embedding = 5
    configuration.hidden = 7
    configuration.decoderContext = 3
    configuration.encoderContext = 2
    configuration.inputDropout = 0.5
    configuration.outputDropout = 0.5
    model = LanguageModel(configuration, vocabularySize: Self.vocabularySize)
    parameters = ParameterBuffer(model.parameters)
    parameters.initialize(seed: 3, engine: engine)
    tokens = arena.vector(of: Int32.self, count: Self.stepCount * Self.segmentCount + 1)
    var generator = SplitMix64(state: 8)
    for index in 0..<tokens.count {
      tokens[index] = Int32.random(in: 0..<Int32(Self.vocabularySize), using: &generator)
    }
  }

  private func segment(_ index: Int) -> (inputs: Vector<Int32>, targets: Vector<Int32>) {
    let first = index * Self.stepCount
    return (tokens[first..<first + Self.stepCount], tokens[first + 1..<first + 1 + Self.stepCount])
  }

  private func dynamic(rate: Double) throws -> [[Double]] {
    let scorer = DynamicScorer(
      model, parameters: parameters, stepCount: Self.stepCount, learningRate: rate, engine: engine)
    return try (0..<Self.segmentCount).map { index in
      let (inputs, targets) = segment(index)
      return try scorer.score(inputs: inputs, targets: targets, rowCount: Self.stepCount).elements
    }
  }

  @Test func everySegmentIsScoredByTheParametersLearnedFromEarlierOnes() throws {
    let rate = 0.4
    var configuration = model.configuration
    configuration.inputDropout = 0
    configuration.outputDropout = 0
    let plain = LanguageModel(configuration, vocabularySize: Self.vocabularySize)
    let moved = ParameterBuffer(plain.parameters)
    moved.copy(from: parameters, engine: engine)
    let gradients = ParameterBuffer(plain.parameters)
    let pass = SegmentPass(
      plain, parameters: moved, stepCount: Self.stepCount, laneCount: 1, accumulation: 1, engine: engine)
    let found = try dynamic(rate: rate)
    for index in 0..<Self.segmentCount {
      gradients.clear(engine: engine)
      let (inputs, targets) = segment(index)
      let sum = try pass.accumulate(
        Segment(inputs: inputs, targets: targets, firstLane: 0, firstTime: 0, key: RandomKey(seed: 0)),
        index: 0, lossScale: 1 / Float(Self.stepCount), gradients: gradients,
        sink: LocalGradientSink(adding: gradients[plain.tiedMatrix], engine: engine))
      #expect(abs(found[index].reduce(0, +) - sum) < 1e-5 * sum, "segment \(index)")
      for parameter in plain.parameters.parameters {
        let (values, slopes) = (moved[parameter], gradients[parameter])
        for row in 0..<values.rowCount {
          for column in 0..<values.columnCount {
            values[row, column] -= Float(rate) * parameter.learningRateScale * slopes[row, column]
          }
        }
      }
    }
  }

  @Test func theOriginalParametersDoNotChange() throws {
    let before = parameters.flat.elements
    _ = try dynamic(rate: 1)
    #expect(parameters.flat.elements == before)
  }

  @Test func withRateZeroItIsAPlainScorer() throws {
    let scorer = Scorer(
      model, parameters: parameters, stepCount: Self.stepCount, streamCount: 1, engine: engine)
    let expected = (0..<Self.segmentCount).map { index in
      let (inputs, targets) = segment(index)
      return scorer.score(inputs: inputs, targets: targets, rowCount: Self.stepCount).elements
    }
    #expect(try dynamic(rate: 0) == expected)
    #expect(try dynamic(rate: 0.4)[1] != expected[1])
  }
}
