import Foundation
import Platform

/// A source of synthetic text with a known entropy rate, the lower bound of any model's loss.
///
/// It is a Markov chain of order 1 over pronounceable words and the end of a line. Each state has four to six
/// successors with decreasing probabilities. The chain depends only on `seed` and `wordCount`.
package struct SyntheticText: Sendable {
  /// A state that may follow another.
  struct Successor: Equatable {
    let state: Int
    let probability: Double
  }

  /// The words; state 0 of the chain is the end of a line, state `i` is word `i − 1`.
  package let words: [String]
  /// Entropy in nats per token, including the `<eos>` of each line.
  package let entropyRate: Double
  private let rows: [[Successor]]
  private let name: String

  /// A source of `wordCount` words, at least 16, all of which occur.
  package init(seed: UInt64, wordCount: Int = 400) {
    precondition(wordCount >= 16, "expected 16 words or more, found \(wordCount)")
    words = Self.makeWords(wordCount, numbers: NumberedRandom(seed: seed, purpose: 1))
    rows = Self.makeRows(wordCount + 1, numbers: NumberedRandom(seed: seed, purpose: 2))
    entropyRate = zip(Self.stationaryDistribution(rows), rows).reduce(0) { sum, state in
      sum - state.0 * state.1.reduce(0) { $0 + $1.probability * log($1.probability) }
    }
    name = "synthetic text, \(wordCount) words, seed \(seed)"
  }

  /// A text of at least `tokenCount` tokens, which ends with its last line.
  ///
  /// - Parameter seed: selects one of the texts of this chain.
  package func text(tokenCount: Int, seed: UInt64) -> String {
    let numbers = NumberedRandom(seed: seed, purpose: 3)
    var text = ""
    var state = 0
    var count = 0
    while count < tokenCount || state != 0 {
      let next = successor(of: state, at: numbers.fraction(count))
      if next == 0 {
        text += "\n"
      } else {
        text += state == 0 ? words[next - 1] : " " + words[next - 1]
      }
      state = next
      count += 1
    }
    return text
  }

  /// Writes a corpus of texts of this source, with about the given number of tokens in each split.
  @discardableResult
  package func writeCorpus(
    at output: URL, trainTokenCount: Int, validTokenCount: Int, testTokenCount: Int, seed: UInt64 = 1
  ) throws -> CorpusDescription {
    let tokenCounts: [Split: Int] = [
      .train: trainTokenCount, .valid: validTokenCount, .test: testTokenCount,
    ]
    var sources: [Split: [TextSource]] = [:]
    for (number, split) in Split.allCases.enumerated() {
      let textSeed = NumberedRandom(seed: seed, purpose: 4).bits(number)
      let bytes = Array(text(tokenCount: tokenCounts[split] ?? 0, seed: textSeed).utf8)
      sources[split] = [.memory(name: "\(name), text \(seed)", bytes: bytes)]
    }
    return try CorpusBuilder(sources: sources, options: .init(), entropyRate: entropyRate).build(at: output)
  }

  private func successor(of state: Int, at fraction: Double) -> Int {
    var rest = fraction
    for successor in rows[state] {
      rest -= successor.probability
      if rest < 0 { return successor.state }
    }
    // Rounding may leave a remainder after the last one.
    return rows[state][rows[state].count - 1].state
  }

  private static func makeWords(_ count: Int, numbers: NumberedRandom) -> [String] {
    let onsets = [
      "b", "br", "c", "ch", "d", "f", "g", "h", "l", "m", "n", "p", "r", "s", "st", "t", "th", "v", "w",
    ]
    let vowels = ["a", "e", "i", "o", "u", "ea", "ou"]
    let codas = ["", "n", "r", "l", "s", "t", "nd", "ck"]
    var words: [String] = []
    var seen: Set<String> = []
    var draw = 0
    while words.count < count {
      var word = ""
      for _ in 0...numbers.integer(draw, below: 2) {
        word += onsets[numbers.integer(draw + 1, below: onsets.count)]
        word += vowels[numbers.integer(draw + 2, below: vowels.count)]
        draw += 2
      }
      word += codas[numbers.integer(draw + 1, below: codas.count)]
      draw += 2
      if seen.insert(word).inserted { words.append(word) }
    }
    return words
  }

  /// One successor of each state forms a cycle through all states, so that every state can be reached.
  private static func makeRows(_ stateCount: Int, numbers: NumberedRandom) -> [[Successor]] {
    let slotCount = 16
    var order = Array(0..<stateCount)
    for index in stride(from: stateCount - 1, to: 0, by: -1) {
      order.swapAt(index, numbers.integer(stateCount * slotCount + index, below: index + 1))
    }
    var rows = [[Successor]](repeating: [], count: stateCount)
    for (place, state) in order.enumerated() {
      let draw = state * slotCount
      var nexts = [order[(place + 1) % stateCount]]
      // A third of the words may end a line, so lines are about a dozen words long.
      if state != 0 && numbers.fraction(draw) < 1.0 / 3 && nexts[0] != 0 { nexts.append(0) }
      let successorCount = 4 + numbers.integer(draw + 1, below: 3)
      var attempt = 0
      while nexts.count < successorCount {
        let next =
          1 + numbers.integer(stateCount * (slotCount + 1) + draw * 8 + attempt, below: stateCount - 1)
        if next != state && !nexts.contains(next) { nexts.append(next) }
        attempt += 1
      }
      rows[state] = skewed(nexts, firstDraw: draw + 2, numbers: numbers)
    }
    return rows
  }

  /// Each successor is about half as likely as the previous one.
  private static func skewed(_ states: [Int], firstDraw: Int, numbers: NumberedRandom) -> [Successor] {
    let weights = states.indices.map { (0.75 + numbers.fraction(firstDraw + $0) / 2) * pow(0.5, Double($0)) }
    let sum = weights.reduce(0, +)
    return zip(states, weights).map { Successor(state: $0, probability: $1 / sum) }
  }

  /// The stationary distribution, by power iteration.
  ///
  /// Half of each step stays in place, which guarantees convergence and does not change the limit.
  private static func stationaryDistribution(_ rows: [[Successor]]) -> [Double] {
    var distribution = [Double](repeating: 1 / Double(rows.count), count: rows.count)
    var change = 1.0
    while change > 1e-14 {
      var next = distribution.map { $0 / 2 }
      for (state, row) in rows.enumerated() {
        for successor in row { next[successor.state] += distribution[state] * successor.probability / 2 }
      }
      let sum = next.reduce(0, +)
      for state in next.indices { next[state] /= sum }
      change = zip(next, distribution).reduce(0) { $0 + abs($1.0 - $1.1) }
      distribution = next
    }
    return distribution
  }
}

/// Stateless random numbers: a function of seed, purpose and index.
struct NumberedRandom {
  private let key: UInt64

  init(seed: UInt64, purpose: UInt64) {
    key = SplitMix64.mix(SplitMix64.mix(seed) &+ purpose)
  }

  func bits(_ index: Int) -> UInt64 {
    SplitMix64.mix(key &+ UInt64(truncatingIfNeeded: index) &* SplitMix64.increment)
  }

  /// Uniform in [0, 1).
  func fraction(_ index: Int) -> Double { Double(bits(index) >> 11) * 0x1p-53 }

  func integer(_ index: Int, below bound: Int) -> Int {
    Int(bits(index).multipliedFullWidth(by: UInt64(bound)).high)
  }
}
