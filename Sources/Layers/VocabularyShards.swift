import Foundation
import Tensors

/// The rows of a segment that the softmax processes.
package struct SoftmaxRows: Sendable {
  /// z, rows × E.
  package let output: Matrix
  /// A token for each row.
  package let targets: Vector<Int32>
  /// Receives dL/dz, rows × E.
  package let gradient: Matrix
  /// The rows whose loss this rank reports.
  package let ownRows: Range<Int>

  /// Rows of which all belong to this rank unless `ownRows` says otherwise.
  package init(output: Matrix, targets: Vector<Int32>, gradient: Matrix, ownRows: Range<Int>? = nil) {
    precondition(targets.count == output.rowCount, "a target for each row")
    self.output = output
    self.targets = targets
    self.gradient = gradient
    self.ownRows = ownRows ?? 0..<output.rowCount
  }
}

/// The collectives of the owners of the tied matrix's shards in a segment: each computes the logits of its own tokens, for the
/// rows of all ranks.
///
/// All owners call the operations in the same order. Rows of all ranks are in the order of shards, equally many of each.
/// The implementation knows the tokens of the segment of every rank. One thread calls it.
package protocol VocabularyShards: AnyObject, Sendable {
  /// The rows of the tied matrix whose logits this rank computes.
  var shard: RowShard { get }

  /// The divisor of the loss of all ranks' rows, so that the gradients of matrix and bias are a mean over ranks;
  /// 1 where the matrix is not sharded.
  var gradientDivisor: Float { get }

  /// Whether the last chunk's gradients of matrix and bias are computed after back-propagation through time, overlapping with
  /// communication.
  var defersMatrixGradient: Bool { get }

  /// Copies the rows of the tokens that this rank reads into its `table`, V × E; the other rows of other shards may be
  /// outdated.
  func fetchRows(into table: Matrix) throws

  /// The rows of all ranks, to which this one contributes its own; the views stay valid until the next call.
  func gather(_ own: SoftmaxRows) throws -> SoftmaxRows

  /// Merges this shard's statistics of the rows of a chunk with those of the other shards.
  func combine(_ statistics: SoftmaxStatistics) throws

  /// Sets the gradient of `own` to the sum of all shards' parts of it times `gradientDivisor`; the gradient of `all` is
  /// this shard's part for the rows of all ranks.
  func scatter(_ all: SoftmaxRows, into own: SoftmaxRows) throws
}

/// The tied matrix of a rank that has all of its rows: every operation is the identity.
package final class WholeVocabulary: VocabularyShards {
  /// All rows.
  package let shard: RowShard
  /// The gradients are this rank's own.
  package var gradientDivisor: Float { 1 }
  /// There is no communication to overlap with, and finished ranges of the matrix are exchanged early.
  package var defersMatrixGradient: Bool { false }

  /// All rows of a vocabulary.
  package init(vocabularySize: Int) {
    shard = SoftmaxWorkspace.shard(of: vocabularySize)
  }

  /// All rows are present.
  package func fetchRows(into table: Matrix) {}
  /// There are no other rows.
  package func gather(_ own: SoftmaxRows) -> SoftmaxRows { own }
  /// All logits are known.
  package func combine(_ statistics: SoftmaxStatistics) {}
  /// The gradient is complete.
  package func scatter(_ all: SoftmaxRows, into own: SoftmaxRows) {}
}

/// Statistics of some rows of logits over the whole vocabulary or one shard: two numbers per row.
///
/// They are the logarithm of the row's sum of exponentials, and the logit of its target, 0 where it is in another shard.
package struct SoftmaxStatistics: Sendable {
  package static let numbersPerRow = 2
  /// The floats that have as many bits as a row's numbers.
  package static let floatsPerRow = numbersPerRow * MemoryLayout<Double>.size / MemoryLayout<Float>.size

  /// All numbers.
  package let numbers: Vector<Double>

  /// The view of some numbers.
  package init(_ numbers: Vector<Double>) { self.numbers = numbers }

  func logSumExp(_ row: Int) -> Double { numbers[2 * row] }

  func set(logSumExp: Double, of row: Int) { numbers[2 * row] = logSumExp }

  func set(targetLogit: Float, of row: Int) { numbers[2 * row + 1] = Double(targetLogit) }

  /// The negative log-likelihood of a row's target, in nats, once all shards are merged.
  func loss(_ row: Int) -> Double { numbers[2 * row] - numbers[2 * row + 1] }

  /// Sets these to the merged statistics of all shards of a vocabulary, in their order; they may be among `parts`.
  package func merge(_ parts: [SoftmaxStatistics]) {
    for row in 0..<numbers.count / Self.numbersPerRow {
      let largest = parts.reduce(-Double.infinity) { max($0, $1.numbers[2 * row]) }
      let sum = parts.reduce(0) { $0 + exp($1.numbers[2 * row] - largest) }
      let target = parts.reduce(0) { $0 + $1.numbers[2 * row + 1] }
      numbers[2 * row] = largest + log(sum)
      numbers[2 * row + 1] = target
    }
  }
}
