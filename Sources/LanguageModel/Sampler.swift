import Foundation
import Layers
import Platform
import Tensors

/// Continues a text, one token at a time.
package final class Sampler {
  /// Sampling parameters.
  package struct Settings: Sendable {
    /// The divisor of logits; 0 always selects the most probable token.
    package var temperature = 1.0
    /// The number of most probable tokens to sample from; 0: all.
    package var topK = 0
    /// Sample from the most probable tokens that together reach this probability; 1: all.
    package var topP = 1.0
    /// A token that is never sampled, such as `<unk>`.
    package var excludedToken: Int32?

    /// The model's own distribution.
    package init() {}
  }

  private let model: LanguageModel
  private let pass: SegmentPass
  private let arena = Arena()
  private let logits: Matrix
  private let input: Vector<Int32>
  private let settings: Settings
  private let key: RandomKey
  private var sampleCount = 0

  /// A sampler before the first token of a text.
  package init(
    _ model: LanguageModel, parameters: ParameterBuffer, settings: Settings, seed: UInt64,
    engine: ComputeEngine
  ) {
    self.model = model
    self.settings = settings
    pass = SegmentPass(
      model, parameters: parameters, stepCount: 1, laneCount: 1, accumulation: 0, engine: engine)
    logits = arena.matrix(rowCount: 1, columnCount: model.vocabularySize)
    input = arena.vector(of: Int32.self, count: 1)
    key = RandomKey(seed: seed).derived("sampling")
  }

  /// Advances the recurrent state by a token, without sampling.
  package func read(_ token: Int32) {
    input[0] = token
    pass.forward(input)
    pass.carryState()
  }

  /// Samples the next token, without reading it; throws where the model's output is not finite.
  package func draw() throws -> Int32 {
    model.softmax.logits(pass.output, weights: pass.weights, into: logits)
    if let excluded = settings.excludedToken { logits[0, Int(excluded)] = -.infinity }
    let values = UnsafeBufferPointer(start: logits.data, count: logits.columnCount)
    guard values.allSatisfy({ $0 < .infinity }), values.contains(where: \.isFinite) else {
      throw MilmError("sampling: expected finite logits, found others: the model has diverged")
    }
    defer { sampleCount += 1 }
    guard settings.temperature > 0 else { return likeliest(values) }
    return pick(candidates(values), at: key.uniform(sampleCount))
  }

  private func likeliest(_ values: UnsafeBufferPointer<Float>) -> Int32 {
    Int32(values.indices.max { values[$0] < values[$1] } ?? 0)
  }

  /// The tokens to sample from with their weights relative to the most probable one; sorted where they are limited.
  private func candidates(_ values: UnsafeBufferPointer<Float>) -> [(token: Int32, weight: Double)] {
    let highest = Double(values.max() ?? 0)
    var tokens = values.indices.map { index in
      (token: Int32(index), weight: exp((Double(values[index]) - highest) / settings.temperature))
    }
    guard settings.topK > 0 || settings.topP < 1 else { return tokens }
    tokens.sort { $0.weight > $1.weight }
    if settings.topK > 0 { tokens = Array(tokens.prefix(settings.topK)) }
    let limit = settings.topP * tokens.reduce(0) { $0 + $1.weight }
    var sum = 0.0
    let kept = tokens.prefix { candidate in
      defer { sum += candidate.weight }
      return sum < limit
    }
    return Array(kept)
  }

  private func pick(_ tokens: [(token: Int32, weight: Double)], at place: Double) -> Int32 {
    var rest = place * tokens.reduce(0) { $0 + $1.weight }
    for candidate in tokens {
      rest -= candidate.weight
      if rest < 0 { return candidate.token }
    }
    return tokens[tokens.count - 1].token
  }
}
