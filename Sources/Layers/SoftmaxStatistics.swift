import Foundation
import Tensors

/// What is known of some rows of logits, of the whole vocabulary or of one shard: two numbers for each row, one row after the other.
///
/// They are the logarithm of the row's sum of exponentials, and the logit of its target, 0 where the shard does not have it.
public struct SoftmaxStatistics: Sendable {
  /// How many numbers a row has.
  public static let numbersPerRow = 2

  /// All numbers.
  public let numbers: Vector<Double>

  /// The view of some numbers.
  public init(_ numbers: Vector<Double>) { self.numbers = numbers }

  func logSumExp(_ row: Int) -> Double { numbers[2 * row] }

  func set(logSumExp: Double, of row: Int) { numbers[2 * row] = logSumExp }

  func set(targetLogit: Float, of row: Int) { numbers[2 * row + 1] = Double(targetLogit) }

  /// The negative log-likelihood of a row's target, in nats, once all shards are merged.
  func loss(_ row: Int) -> Double { numbers[2 * row] - numbers[2 * row + 1] }

  /// Sets these to what the shards of a vocabulary know together, in their order; their own may be among the parts.
  public func merge(_ parts: [SoftmaxStatistics]) {
    for row in 0..<numbers.count / Self.numbersPerRow {
      let largest = parts.reduce(-Double.infinity) { max($0, $1.numbers[2 * row]) }
      let sum = parts.reduce(0) { $0 + exp($1.numbers[2 * row] - largest) }
      let target = parts.reduce(0) { $0 + $1.numbers[2 * row + 1] }
      numbers[2 * row] = largest + log(sum)
      numbers[2 * row + 1] = target
    }
  }
}
