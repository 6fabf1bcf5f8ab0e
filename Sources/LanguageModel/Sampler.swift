import Foundation
import Layers
import Tensors

/// Continues a text, one word at a time.
public final class Sampler {
  /// Which words may come, and how boldly.
  public struct Settings: Sendable {
    /// What logits are divided by; 0 always takes the likeliest word.
    public var temperature = 1.0
    /// How many of the likeliest words may come; 0 for all.
    public var topK = 0
    /// The likeliest words that together reach this probability may come; 1 for all.
    public var topP = 1.0
    /// A word that never comes, such as `<unk>`.
    public var excludedToken: Int32?

    /// The model's own distribution.
    public init() {}
  }

  private let model: LanguageModel
  private let pass: SegmentPass
  private let arena = Arena()
  private let logits: Matrix
  private let input: Vector<Int32>
  private let settings: Settings
  private let key: RandomKey
  private var sampleCount = 0

  /// A sampler before the first word of a text.
  public init(
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

  /// Takes a word in.
  public func read(_ word: Int32) {
    input[0] = word
    pass.forward(input)
    pass.carryState()
  }

  /// Draws the word that follows what was read; it still has to be read itself.
  public func draw() -> Int32 {
    model.softmax.logits(pass.output, weights: pass.weights, into: logits)
    if let excluded = settings.excludedToken { logits[0, Int(excluded)] = -.infinity }
    let values = UnsafeBufferPointer(start: logits.data, count: logits.columnCount)
    defer { sampleCount += 1 }
    guard settings.temperature > 0 else { return likeliest(values) }
    return pick(candidates(values), at: key.uniform(sampleCount))
  }

  private func likeliest(_ values: UnsafeBufferPointer<Float>) -> Int32 {
    Int32(values.indices.max { values[$0] < values[$1] } ?? 0)
  }

  /// The words that may come, likeliest first, with their weights relative to the likeliest.
  private func candidates(_ values: UnsafeBufferPointer<Float>) -> [(word: Int32, weight: Double)] {
    let highest = Double(values.max() ?? 0)
    var words = values.indices.map { index in
      (word: Int32(index), weight: exp((Double(values[index]) - highest) / settings.temperature))
    }
    guard settings.topK > 0 || settings.topP < 1 else { return words }
    words.sort { $0.weight > $1.weight }
    if settings.topK > 0 { words = Array(words.prefix(settings.topK)) }
    let limit = settings.topP * words.reduce(0) { $0 + $1.weight }
    var sum = 0.0
    let kept = words.prefix { candidate in
      defer { sum += candidate.weight }
      return sum < limit
    }
    return Array(kept)
  }

  private func pick(_ words: [(word: Int32, weight: Double)], at place: Double) -> Int32 {
    var rest = place * words.reduce(0) { $0 + $1.weight }
    for candidate in words {
      rest -= candidate.weight
      if rest < 0 { return candidate.word }
    }
    return words[words.count - 1].word
  }
}
