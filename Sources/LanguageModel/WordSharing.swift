import Layers
import Tensors

/// What ranks that share out the vocabulary do for each other in a segment: each has the logits of its own words, in
/// the rows of all ranks.
///
/// All of them call the operations in the same order. Rows of all ranks stand in the order of shards, equally many of each.
/// Whoever implements it knows the words of the segment of every rank.
public protocol WordSharing<Failure> {
  /// What it throws where the others are not to be reached.
  associatedtype Failure: Error

  /// Over how many ranks an exchange takes the mean of all other gradients: those of words come out as such means at once.
  var meanRankCount: Int { get }

  /// Brings the rows of the words that this rank reads into their places in its `table`, V × E, whose other rows of words that
  /// are not its own may be old.
  func fetchRows(into table: Matrix) throws(Failure)

  /// z and targets of all ranks, of which this one gives its z; the views stay valid until the next call.
  func gather(_ output: Matrix) throws(Failure) -> SharedRows

  /// Makes of what this shard knows of the rows of a chunk what all shards know together.
  func combine(_ statistics: SoftmaxStatistics) throws(Failure)

  /// Sets `own` to the sum of all shards' parts of dL/dz of this rank's rows, times `meanRankCount`; `gradient` is this
  /// shard's part of it for the rows of all ranks.
  func scatter(_ gradient: Matrix, into own: Matrix) throws(Failure)
}

/// The rows of all ranks that share out the words.
public struct SharedRows: Sendable {
  /// z.
  public let output: Matrix
  /// A word for each row.
  public let targets: Vector<Int32>
  /// Those of this rank.
  public let ownRows: Range<Int>

  /// The rows of all ranks, of which this one has `ownRows`.
  public init(output: Matrix, targets: Vector<Int32>, ownRows: Range<Int>) {
    self.output = output
    self.targets = targets
    self.ownRows = ownRows
  }
}
