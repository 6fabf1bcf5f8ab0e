import Foundation
import LanguageModel
import Platform
import Tensors
import TestSupport
import Testing

/// The cache against a direct implementation of its formula.
@Suite struct NeuralCacheTests {
  private static let width = 5

  /// p_cache of every target of a text, from all pairs before it.
  private func reference(_ outputs: [[Float]], _ tokens: [Int32], capacity: Int, theta: Double) -> [Double] {
    tokens.indices.map { time in
      var sum = 0.0
      var found = 0.0
      for past in max(0, time - capacity)..<time {
        let dot = zip(outputs[time], outputs[past]).reduce(0.0) { $0 + Double($1.0) * Double($1.1) }
        sum += exp(theta * dot)
        if tokens[past] == tokens[time] { found += exp(theta * dot) }
      }
      return found / sum
    }
  }

  @Test(arguments: [1, 3, 10, 70, 500], [(1, 1), (7, 1), (100, 2), (300, 1)])
  func probabilitiesAreThoseOfTheFormula(capacity: Int, cut: (blockLength: Int, threadCount: Int)) throws {
    var generator = SplitMix64(state: UInt64(capacity))
    let tokens = (0..<300).map { _ in Int32.random(in: 0..<9, using: &generator) }
    let outputs = tokens.map { _ in
      (0..<Self.width).map { _ in Float.random(in: -2...2, using: &generator) }
    }
    let settings = NeuralCache.Settings(tokenCount: capacity, theta: 0.7, lambda: 0.2)
    let cache = NeuralCache(
      settings, width: Self.width, rowCount: cut.blockLength,
      engine: try ComputeEngine(threadCount: cut.threadCount))
    let arena = Arena()
    var found: [Double] = []
    for start in stride(from: 0, to: tokens.count, by: cut.blockLength) {
      let end = min(start + cut.blockLength, tokens.count)
      let output = arena.matrix(rowCount: end - start, columnCount: Self.width)
      let targets = arena.vector(of: Int32.self, count: end - start)
      for row in start..<end {
        for column in 0..<Self.width { output[row - start, column] = outputs[row][column] }
        targets[row - start] = tokens[row]
      }
      found += cache.read(output, targets: targets).elements
    }
    let expected = reference(outputs, tokens, capacity: capacity, theta: 0.7)
    #expect(found.count == expected.count && found[0].isNaN)
    for time in 1..<found.count {
      #expect(abs(found[time] - expected[time]) < 1e-5, "token \(time)")
    }
    withExtendedLifetime(arena) {}
  }

  @Test func probabilitiesAreMixedLinearly() {
    let settings = NeuralCache.Settings(tokenCount: 4, theta: 1, lambda: 0.25)
    let cache = NeuralCache(settings, width: 1, rowCount: 1, engine: ComputeEngine())
    #expect(abs(exp(-cache.mixed(-log(0.1), probability: 0.5)) - (0.75 * 0.1 + 0.25 * 0.5)) < 1e-15)
    #expect(cache.mixed(3, probability: .nan) == 3)
  }
}
