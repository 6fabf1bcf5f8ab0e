import Foundation
import Tensors

/// What is known of some rows of logits, of all words or of a rank's: 2 × rows numbers.
struct SoftmaxStatistics: Sendable {
  let numbers: Vector<Double>
  private var rowCount: Int { numbers.count / 2 }

  init(_ numbers: Vector<Double>) { self.numbers = numbers }

  /// The logarithm of each row's sum of exponentials.
  var logSumExps: Vector<Double> { numbers[0..<rowCount] }
  /// Each row's logit of its target; 0 where the target is none of the words.
  var targetLogits: Vector<Double> { numbers[rowCount..<2 * rowCount] }

  /// The negative log-likelihood of a row's target, in nats, where all words are in it.
  func loss(_ row: Int) -> Double { logSumExps[row] - targetLogits[row] }

  /// Sets these to what shards of the vocabulary know together, in their order.
  func merge(_ parts: [SoftmaxStatistics]) {
    for row in 0..<rowCount {
      let largest = parts.reduce(-Double.infinity) { max($0, $1.logSumExps[row]) }
      let sum = parts.reduce(0) { $0 + exp($1.logSumExps[row] - largest) }
      let target = parts.reduce(0) { $0 + $1.targetLogits[row] }
      logSumExps[row] = largest + log(sum)
      targetLogits[row] = target
    }
  }
}
