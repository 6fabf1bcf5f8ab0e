import Foundation
import Layers
import Tensors

/// A neural continuous cache (Grave, Joulin & Usunier 2017): recent tokens, weighted by the similarity of the model's output then
/// to its output now.
///
/// It keeps the last N tokens w_i, each with the z_i that predicted it. For the token after z_t
///
///     p_cache(w) = Σᵢ [w = w_i] exp(θ · z_t·z_i) / Σᵢ exp(θ · z_t·z_i),    p = (1 − λ) p_model + λ p_cache.
///
/// z is the vector that the softmax multiplies, which in the paper is the LSTM's own h. Before the first token the cache is
/// empty, and the model's probability is used alone.
package final class NeuralCache {
  /// The hyperparameters of a cache.
  package struct Settings: Sendable, Equatable {
    /// N: the number of most recent tokens that are kept.
    package var tokenCount: Int
    /// θ: the sharpness of the similarity; 0 weights all outputs equally.
    package var theta: Double
    /// λ: the cache's weight in the mixture, in [0, 1).
    package var lambda: Double

    /// A cache of `tokenCount` tokens.
    package init(tokenCount: Int, theta: Double, lambda: Double) {
      self.tokenCount = tokenCount
      self.theta = theta
      self.lambda = lambda
    }
  }

  /// The number of rows per product.
  private static let rowsPerChunk = 64

  private let settings: Settings
  private let engine: ComputeEngine
  private let arena = Arena()
  /// The kept pairs, oldest first, at the end of the first N rows; then those of the block.
  private let outputs: Matrix
  private let tokens: Vector<Int32>
  private let products: Matrix
  private let probabilities: Vector<Double>
  private var keptCount = 0

  /// An empty cache for blocks of up to `rowCount` rows of a model whose z is `width` wide.
  package init(_ settings: Settings, width: Int, rowCount: Int, engine: ComputeEngine) {
    self.settings = settings
    self.engine = engine
    let capacity = settings.tokenCount + rowCount
    outputs = arena.matrix(rowCount: capacity, columnCount: width)
    tokens = arena.vector(of: Int32.self, count: capacity)
    let rowsPerChunk = min(rowCount, Self.rowsPerChunk)
    products = arena.matrix(rowCount: rowsPerChunk, columnCount: settings.tokenCount + rowsPerChunk)
    probabilities = arena.vector(of: Double.self, count: rowCount)
  }

  /// p_cache of each target, NaN where the cache is empty; then keeps the block's pairs.
  ///
  /// z is rows × E, the rows of one stream in the order of time. The view stays valid until the next call.
  package func read(_ output: Matrix, targets: Vector<Int32>) -> Vector<Double> {
    let count = output.rowCount
    let capacity = settings.tokenCount
    outputs.rows(capacity..<capacity + count).copy(from: output)
    tokens[capacity..<capacity + count].data.update(from: targets.data, count: count)
    for first in stride(from: 0, to: count, by: Self.rowsPerChunk) {
      lookUp(first..<min(first + Self.rowsPerChunk, count))
    }
    keep(count)
    return probabilities[0..<count]
  }

  /// The mixture's negative log-likelihood of a token in nats, from the model's and the cache's probability.
  package func mixed(_ loss: Double, probability: Double) -> Double {
    guard !probability.isNaN else { return loss }
    return -log((1 - settings.lambda) * exp(-loss) + settings.lambda * probability)
  }

  private func lookUp(_ rows: Range<Int>) {
    let capacity = settings.tokenCount
    // Row t uses the N pairs before its own, which are rows t ..< t + N.
    let seen = rows.lowerBound..<rows.upperBound - 1 + capacity
    let dots = Matrix(
      products.data, rowCount: rows.count, columnCount: seen.count, stride: products.columnCount)
    let query = Operand(outputs.rows(capacity + rows.lowerBound..<capacity + rows.upperBound))
    let keys = Operand(outputs.rows(seen))
    engine.forEachPart(of: seen.count, minimumPartCount: 256) { worker, range in
      worker.multiply(query, keys.rows(range).transposed, into: dots.columns(range))
    }
    let firstKept = capacity - keptCount
    let (tokens, theta, probabilities) = (tokens, settings.theta, probabilities)
    engine.forEachPart(of: rows.count, minimumPartCount: 4) { range in
      for index in range {
        let row = rows.lowerBound + index
        probabilities[row] = probability(
          of: tokens[capacity + row], in: tokens, among: max(row, firstKept)..<row + capacity,
          dots: dots.row(index) - rows.lowerBound, theta: theta)
      }
    }
  }

  /// Moves the last N pairs to the front.
  private func keep(_ count: Int) {
    let capacity = settings.tokenCount
    for row in 0..<capacity {
      outputs.row(row).update(from: outputs.row(row + count), count: outputs.columnCount)
      tokens[row] = tokens[row + count]
    }
    keptCount = min(capacity, keptCount + count)
  }
}

/// The fraction of `exp(θ · dots[row])` in rows with this token; NaN where there are no rows.
private func probability(
  of token: Int32, in tokens: Vector<Int32>, among rows: Range<Int>, dots: UnsafePointer<Float>, theta: Double
) -> Double {
  var largest = -Double.infinity
  for row in rows { largest = max(largest, theta * Double(dots[row])) }
  var sum = 0.0
  var found = 0.0
  for row in rows {
    let weight = exp(theta * Double(dots[row]) - largest)
    sum += weight
    if tokens[row] == token { found += weight }
  }
  return found / sum
}
