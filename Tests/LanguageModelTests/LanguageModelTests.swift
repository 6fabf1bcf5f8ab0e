import LanguageModel
import Layers
import Tensors
import TestSupport
import Testing

@Suite struct LanguageModelTests {
  @Test(arguments: [
    (ModelConfiguration.Variant.lstm, 88_214_999), (.multdec, 105_065_975), (.multencdec, 110_016_319),
  ])
  func paperShapesHaveTheirParameterCounts(variant: ModelConfiguration.Variant, expected: Int) {
    var configuration = ModelConfiguration()
    configuration.variant = variant
    #expect(LanguageModel(configuration, vocabularySize: 267_735).parameters.parameterCount == expected)
  }

  @Test(arguments: ModelConfiguration.Variant.allCases, [37, 1537, 267_735])
  func gradientRangesTileTheFlatGradient(variant: ModelConfiguration.Variant, vocabularySize: Int) {
    let model = LanguageModel(small(variant), vocabularySize: vocabularySize, tiedRangeCount: 4)
    #expect(model.gradientRanges.count { $0.rowLength != nil } == min(4, (vocabularySize + 511) / 512))
    var end = 0
    for range in model.gradientRanges {
      #expect(range.range.lowerBound == end)
      end = range.range.upperBound
    }
    #expect(end == model.parameters.elementCount)
  }

  @Test(arguments: ModelConfiguration.Variant.allCases)
  func partsOfTheGradientAreFinishedOnceAndNotChangedAfterwards(variant: ModelConfiguration.Variant) throws {
    let bench = Bench(small(variant), lanes: 2, accumulation: 2, vocabularySize: 1100, tiedRangeCount: 3)
    let sink = RecordingSink(bench.gradients)
    for index in 0..<2 { _ = try bench.accumulate(index: index, sink: sink) }
    #expect(sink.finished.map(\.range) == bench.model.gradientRanges.map(\.range))
    for (range, elements) in sink.finished {
      #expect(firstDifference(bench.gradients.flat.columns(range).elements, elements) == nil)
    }
  }

  @Test(arguments: ModelConfiguration.Variant.allCases, InteractionKind.allCases)
  func multiplicationsAreOneForEachWeightOfAProductOverTokens(
    variant: ModelConfiguration.Variant, form: InteractionKind
  ) {
    var configuration = small(variant)
    configuration.form = form
    let model = LanguageModel(configuration, vocabularySize: 31)
    // Positions are multiplied once a segment for all lanes.
    let others = ["bias", "b", "gain", "contentBias", "positionBias", "position"]
    let weights = model.parameters.parameters.filter {
      !others.contains(String($0.name.split(separator: ".").last ?? ""))
    }
    // Every such tensor is in one product, under its name; attention multiplies activations too.
    let attention = model.products.filter { product in
      ["content", "distance", "values"].contains { product.name.hasSuffix("attention.\($0)") }
    }
    let names = model.products.flatMap { $0.name.split(separator: ", ").map(String.init) }
    #expect(names.sorted() == (weights.map(\.name) + attention.map(\.name)).sorted())
    let count = weights.reduce(0) { $0 + $1.count } + attention.reduce(0) { $0 + $1.multiplicationsPerRow }
    #expect(model.multiplicationsPerToken == count)
    #expect(model.forwardFlopsPerToken == 2 * count && model.stepFlopsPerToken == 6 * count)
  }

  /// Lanes are independent: two passes over halves of them give the sums of one pass over all, dropout on.
  @Test(arguments: ModelConfiguration.Variant.allCases)
  func halvesOfTheLanesAddUpToAll(variant: ModelConfiguration.Variant) throws {
    let whole = Bench(small(variant), lanes: 4, accumulation: 1)
    var rowSums = [Double](repeating: 0, count: 2)
    var losses = [Double](repeating: 0, count: 2)
    let sink = RecordingSink(whole.gradients)
    losses[0] = try whole.accumulate(index: 0, sink: sink)
    rowSums[0] = sink.rowSum
    let gradients = ParameterBuffer(whole.model.parameters)
    for first in [0, 2] {
      let half = Bench(
        small(variant), lanes: 2, accumulation: 1, firstLane: first, laneCountOfAll: 4, gradients: gradients)
      let sink = RecordingSink(gradients)
      losses[1] += try half.accumulate(index: 0, sink: sink)
      rowSums[1] += sink.rowSum
    }
    #expect(abs(losses[0] - losses[1]) < 1e-5 * losses[0])
    #expect(abs(rowSums[0] - rowSums[1]) < 1e-5)
    for (one, two) in zip(whole.gradients.flat.elements, gradients.flat.elements) {
      #expect(abs(one - two) < 1e-6)
    }
  }

  @Test(arguments: [(0, 1.0), (1, 1.0), (0, 1e-9)])
  func theMostProbableTokenIsSampledWhereNoOtherIsAllowed(topK: Int, topP: Double) throws {
    let bench = Bench(small(.multencdec), lanes: 1, accumulation: 1)
    var settings = Sampler.Settings()
    settings.topK = topK
    settings.topP = topP
    settings.temperature = topK == 0 && topP == 1 ? 0 : 1
    let tokens = try (0..<2).map { seed in
      let sampler = Sampler(
        bench.model, parameters: bench.weights, settings: settings, seed: UInt64(seed), engine: bench.engine)
      return try (0..<12).map { _ in
        let token = try sampler.draw()
        sampler.read(token)
        return token
      }
    }
    #expect(tokens[0] == tokens[1])
  }

  @Test func samplesDependOnTheirSeedAndOmitTheExcludedToken() throws {
    let bench = Bench(small(.multdec), lanes: 1, accumulation: 1)
    var settings = Sampler.Settings()
    settings.excludedToken = 5
    let texts = try [1, 1, 2].map { (seed: UInt64) in
      let sampler = Sampler(
        bench.model, parameters: bench.weights, settings: settings, seed: seed, engine: bench.engine)
      sampler.read(0)
      return try (0..<200).map { _ in try sampler.draw() }
    }
    #expect(texts[0] == texts[1] && texts[0] != texts[2])
    #expect(!texts[0].contains(5))
    #expect(Set(texts[0]).count > 20)
  }

  /// The same segment with products of bfloat16 operands, or in fp32 where the engine does not support them.
  @Test(arguments: ModelConfiguration.Variant.allCases, [1, 3])
  func bfloat16StaysNearTheExactLossAndGradients(
    variant: ModelConfiguration.Variant, threadCount: Int
  ) throws {
    func run(_ engine: ComputeEngine) throws -> (loss: Double, gradient: [Float]) {
      let bench = Bench(small(variant), lanes: 3, accumulation: 1, engine: engine)
      let loss = try bench.accumulate(index: 0, sink: nil)
      return (loss, bench.gradients.flat.elements)
    }
    let exact = try run(ComputeEngine(library: .openBLAS))
    let rounded = try run(try ComputeEngine(threadCount: threadCount, precision: .bfloat16))
    #expect(abs(rounded.loss - exact.loss) < 1e-3 * exact.loss)
    let difference = zip(rounded.gradient, exact.gradient).reduce(0.0) { sum, pair in
      sum + Double(pair.0 - pair.1) * Double(pair.0 - pair.1)
    }
    let size = exact.gradient.reduce(0.0) { $0 + Double($1) * Double($1) }
    #expect((difference / size).squareRoot() < 1e-2)
  }

  private func small(_ variant: ModelConfiguration.Variant) -> ModelConfiguration {
    var configuration = ModelConfiguration()
    configuration.variant = variant
    configuration.embedding = 12
    configuration.hidden = 10
    configuration.decoderContext = 3
    configuration.encoderContext = 4
    configuration.layers = 2
    configuration.width = 8
    configuration.heads = 2
    configuration.inner = 9
    configuration.memory = 3
    return configuration
  }

  /// A model with random weights and tokens.
  private struct Bench {
    let engine: ComputeEngine
    let model: LanguageModel
    let weights: ParameterBuffer
    let gradients: ParameterBuffer
    let pass: SegmentPass
    let arena = Arena()
    let firstLane: Int
    let laneCountOfAll: Int

    init(
      _ configuration: ModelConfiguration, lanes: Int, accumulation: Int, firstLane: Int = 0,
      laneCountOfAll: Int? = nil, gradients: ParameterBuffer? = nil,
      engine: ComputeEngine = ComputeEngine(), vocabularySize: Int = 37,
      tiedRangeCount: Int? = nil
    ) {
      self.engine = engine
      model = LanguageModel(
        configuration, vocabularySize: vocabularySize, tiedRangeCount: tiedRangeCount)
      weights = ParameterBuffer(model.parameters)
      weights.initialize(seed: 4, engine: engine)
      self.gradients = gradients ?? ParameterBuffer(model.parameters)
      self.firstLane = firstLane
      self.laneCountOfAll = laneCountOfAll ?? lanes
      pass = SegmentPass(
        model, parameters: weights, stepCount: 5, laneCount: lanes, accumulation: accumulation, engine: engine
      )
    }

    func accumulate(index: Int, sink: (any GradientSink)?) throws -> Double {
      let count = pass.stepCount * pass.laneCount
      let inputs = arena.vector(of: Int32.self, count: count)
      let targets = arena.vector(of: Int32.self, count: count)
      for time in 0..<pass.stepCount {
        for lane in 0..<pass.laneCount {
          let place = (index * 5 + time) * laneCountOfAll + firstLane + lane
          inputs[time * pass.laneCount + lane] = Int32(place * 7 % 37)
          targets[time * pass.laneCount + lane] = Int32(place * 11 % 37)
        }
      }
      let segment = Segment(
        inputs: inputs, targets: targets, firstLane: firstLane, firstTime: index * 5,
        key: RandomKey(seed: 1).derived(3))
      return try pass.accumulate(
        segment, index: index, lossScale: 1 / Float(5 * laneCountOfAll), gradients: gradients, sink: sink)
    }
  }
}

/// A sink that keeps what it receives.
private final class RecordingSink: GradientSink {
  private(set) var finished: [(range: Range<Int>, elements: [Float])] = []
  private(set) var rowSum = 0.0
  private let gradients: ParameterBuffer

  init(_ gradients: ParameterBuffer) { self.gradients = gradients }

  func finish(_ range: GradientRange) {
    finished.append((range.range, gradients.flat.columns(range.range).elements))
  }

  func finish(rows: Matrix, of tokens: Vector<Int32>) {
    rowSum += rows.elements.reduce(0) { $0 + Double($1) }
  }
}
