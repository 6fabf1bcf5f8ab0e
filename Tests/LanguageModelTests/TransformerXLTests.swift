import LanguageModel
import Layers
import Tensors
import Testing

@Suite struct TransformerXLTests {
  static let variants: [ModelConfiguration.Variant] = [.txl, .txlMultdec, .txlMI]

  private static func small(
    _ variant: ModelConfiguration.Variant, embedding: Int = 6, memory: Int = 4
  ) -> ModelConfiguration {
    var configuration = ModelConfiguration()
    configuration.variant = variant
    configuration.embedding = embedding
    configuration.layers = 2
    configuration.width = 8
    configuration.heads = 2
    configuration.inner = 7
    configuration.memory = memory
    configuration.decoderContext = 3
    configuration.inputDropout = 0.2
    configuration.outputDropout = 0.2
    configuration.hiddenDropout = 0.2
    configuration.attentionDropout = 0.2
    return configuration
  }

  private static let vocabularySize = 11

  private static func tokens(_ count: Int, from seed: Int = 0, in arena: Arena) -> Vector<Int32> {
    let tokens = arena.vector(of: Int32.self, count: count)
    for index in 0..<count { tokens[index] = Int32((seed + index * index * 5 + index) % vocabularySize) }
    return tokens
  }

  /// Published sizes: 16 layers of 410 with an adaptive softmax have 151.1 million; here the softmax is one tied matrix.
  @Test func theBaseHasTheParametersOfItsLayers() {
    var configuration = ModelConfiguration()
    configuration.variant = .txl
    configuration.embedding = 410
    let model = LanguageModel(configuration, vocabularySize: 267_735)
    let layer = 5 * 410 * 410 + 2 * 410 * 2100 + 2100 + 410 + 4 * 410
    #expect(model.parameters.parameterCount == 267_735 * 411 + 16 * layer + 2 * 410)
  }

  @Test(arguments: variants, [6, 8])
  func gradientsMatchCentralDifferences(
    variant: ModelConfiguration.Variant, embedding: Int
  ) throws {
    let engine = ComputeEngine()
    let model = LanguageModel(Self.small(variant, embedding: embedding), vocabularySize: Self.vocabularySize)
    let weights = ParameterBuffer(model.parameters)
    weights.initialize(seed: 1, engine: engine)
    let noise = ParameterBuffer(model.parameters)
    defer { withExtendedLifetime((noise, weights)) {} }
    for parameter in model.parameters.parameters {
      engine.fillUniformly(
        noise[parameter].data, count: parameter.count, limit: 0.4,
        key: RandomKey(seed: 2).derived(parameter.name))
    }
    engine.add(noise.flat, to: weights.flat)
    let gradients = ParameterBuffer(model.parameters)
    let arena = Arena()
    defer { withExtendedLifetime(arena) {} }
    let (steps, lanes) = (3, 2)
    let pass = SegmentPass(
      model, parameters: weights, stepCount: steps, laneCount: lanes, accumulation: 1, engine: engine)
    // The memory is a constant: no gradient enters it.
    let memory = CarriedState(like: pass.carriedState, laneCount: lanes, in: arena)
    for part in memory.parts {
      engine.fillUniformly(
        part.values.data, count: part.values.count, limit: 1, key: RandomKey(seed: 3).derived(part.name))
    }
    try #require(memory["filled"]).fill(3)
    let segment = Segment(
      inputs: Self.tokens(steps * lanes, in: arena), targets: Self.tokens(steps * lanes, from: 1, in: arena),
      firstLane: 0, firstTime: 0, key: RandomKey(seed: 1))
    func loss(_ gradients: ParameterBuffer) throws -> Double {
      pass.carriedState.copy(from: memory)
      return try pass.accumulate(
        segment, index: 0, lossScale: 1, gradients: gradients,
        sink: LocalGradientSink(adding: gradients[model.tiedMatrix], engine: engine))
    }
    let middle = try loss(gradients)
    let ignored = ParameterBuffer(model.parameters)
    let epsilon: Float = 1e-3
    for parameter in model.parameters.parameters {
      var (largest, difference, kinks, count) = (0.0, 0.0, 0, 0)
      for index in stride(from: 0, to: parameter.count, by: max(1, parameter.count / 16)) {
        let value = weights.flat.data + parameter.offset + index
        let saved = value.pointee
        value.pointee = saved + epsilon
        let above = try loss(ignored)
        value.pointee = saved - epsilon
        let below = try loss(ignored)
        value.pointee = saved
        count += 1
        // A unit of a rectified layer that is switched on or off in between has no derivative.
        guard abs(above + below - 2 * middle) < 1e-2 * Double(epsilon) else {
          kinks += 1
          continue
        }
        let numeric = (above - below) / Double(2 * epsilon)
        largest = max(largest, abs(numeric))
        difference = max(difference, abs(numeric - Double(gradients.flat.data[parameter.offset + index])))
      }
      #expect(largest > 0 && 2 * kinks <= count, "\(parameter.name): \(kinks) kinks among \(count) elements")
      #expect(
        difference <= 2e-2 * largest,
        "\(parameter.name): off by \(difference) where the largest entry is \(largest)")
    }
  }

  /// Every token sees the tokens that it would see in any other blocks.
  @Test(arguments: variants, [1, 2, 3, 7])
  func scoresDoNotDependOnTheBlocks(variant: ModelConfiguration.Variant, blockLength: Int) throws {
    let engine = ComputeEngine()
    let model = LanguageModel(Self.small(variant), vocabularySize: Self.vocabularySize)
    let weights = ParameterBuffer(model.parameters)
    weights.initialize(seed: 1, engine: engine)
    let arena = Arena()
    defer { withExtendedLifetime(arena) {} }
    let count = 23
    let text = Self.tokens(count + 1, in: arena)
    func losses(blockLength: Int) throws -> [Double] {
      let scorer = Scorer(
        model, parameters: weights, stepCount: blockLength, streamCount: 1, engine: engine)
      defer { withExtendedLifetime(scorer) {} }
      var losses: [Double] = []
      for first in stride(from: 0, to: count, by: blockLength) {
        let block = first..<min(first + blockLength, count)
        losses +=
          scorer.score(
            inputs: text[block], targets: text[block.lowerBound + 1..<block.upperBound + 1],
            rowCount: block.count
          ).elements
      }
      return losses
    }
    for (one, other) in zip(try losses(blockLength: count), try losses(blockLength: blockLength)) {
      #expect(abs(one - other) < 1e-5)
    }
  }

  /// A token further back than the memory of all layers changes nothing, a nearer one does.
  @Test func aTokenSeesExactlyTheMemoryBeforeIt() throws {
    let engine = ComputeEngine()
    var configuration = Self.small(.txl)
    configuration.layers = 1
    let model = LanguageModel(configuration, vocabularySize: Self.vocabularySize)
    let weights = ParameterBuffer(model.parameters)
    weights.initialize(seed: 1, engine: engine)
    let arena = Arena()
    defer { withExtendedLifetime(arena) {} }
    func lastLoss(changing place: Int?) -> Double {
      let text = Self.tokens(13, in: arena)
      if let place { text[place] = (text[place] + 1) % Int32(Self.vocabularySize) }
      let scorer = Scorer(model, parameters: weights, stepCount: 3, streamCount: 1, engine: engine)
      defer { withExtendedLifetime(scorer) {} }
      var last = 0.0
      for first in stride(from: 0, to: 12, by: 3) {
        last =
          scorer.score(
            inputs: text[first..<first + 3], targets: text[first + 1..<first + 4], rowCount: 3)[2]
      }
      return last
    }
    // The last token that is read is number 11, and sees 7 to 11.
    #expect(lastLoss(changing: 6) == lastLoss(changing: nil))
    #expect(lastLoss(changing: 7) != lastLoss(changing: nil))
  }

  /// At W = 0 the multiplicative variants are the plain model.
  @Test(arguments: [ModelConfiguration.Variant.txlMultdec, .txlMI])
  func withoutItsNewTensorsAVariantIsThePlainModel(variant: ModelConfiguration.Variant) throws {
    let engine = ComputeEngine()
    let arena = Arena()
    defer { withExtendedLifetime(arena) {} }
    let inputs = Self.tokens(12, in: arena)
    let targets = Self.tokens(12, from: 1, in: arena)
    func losses(
      _ variant: ModelConfiguration.Variant, _ change: (ParameterList, ParameterBuffer) -> Void
    ) -> [Double] {
      let model = LanguageModel(Self.small(variant), vocabularySize: Self.vocabularySize)
      let weights = ParameterBuffer(model.parameters)
      weights.initialize(seed: 1, engine: engine)
      change(model.parameters, weights)
      let scorer = Scorer(model, parameters: weights, stepCount: 6, streamCount: 2, engine: engine)
      defer { withExtendedLifetime(scorer) {} }
      return scorer.score(inputs: inputs, targets: targets, rowCount: 12).elements
    }
    let plain = losses(.txl) { _, _ in }
    let interacting = losses(variant) { list, weights in
      for parameter in list.parameters
      where parameter.name.hasSuffix("modulation") || ["decoder.W", "decoder.U"].contains(parameter.name) {
        weights[parameter].fill(0)
      }
    }
    let untouched = losses(variant) { _, _ in }
    for (one, other) in zip(plain, interacting) { #expect(abs(one - other) < 1e-5) }
    #expect(zip(plain, untouched).contains { abs($0 - $1) > 1e-4 })
  }

  /// The state of some lanes is that of the same lanes among all, and a copy of it continues alike.
  @Test func aCopyOfTheStateContinuesAlike() throws {
    let engine = ComputeEngine()
    let model = LanguageModel(Self.small(.txlMI), vocabularySize: Self.vocabularySize)
    let weights = ParameterBuffer(model.parameters)
    weights.initialize(seed: 1, engine: engine)
    let arena = Arena()
    defer { withExtendedLifetime(arena) {} }
    let scorers = (0..<2).map { _ in
      Scorer(model, parameters: weights, stepCount: 3, streamCount: 2, engine: engine)
    }
    scorers[0].read(Self.tokens(6, in: arena))
    let saved = CarriedState(like: scorers[0].state, laneCount: 2, in: arena)
    saved.copy(from: scorers[0].state)
    scorers[1].state.lanes(0..<1).copy(from: saved.lanes(0..<1))
    scorers[1].state.lanes(1..<2).copy(from: saved.lanes(1..<2))
    let next = (Self.tokens(6, from: 4, in: arena), Self.tokens(6, from: 5, in: arena))
    let scores = scorers.map { $0.score(inputs: next.0, targets: next.1, rowCount: 6).elements }
    #expect(scores[0] == scores[1])
  }
}
