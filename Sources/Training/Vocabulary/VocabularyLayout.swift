import Communication
import LanguageModel
import Layers
import Platform
import Tensors

/// Which rank has which rows of the tied matrix.
///
/// The ranks that train form groups of `groupSize` consecutive ones. Within a group the vocabulary is sharded; the ranks of all
/// groups that have the same shard exchange its gradient. Groups of one rank are the replicated matrix, one group of all
/// training ranks the fully sharded one. A rank without lanes has no rows unless the matrix is replicated.
package struct VocabularyLayout: Sendable, Equatable {
  /// G.
  package let groupSize: Int
  /// Whether rows have owners: in groups of several ranks, and where the configuration asks for shards on however many ranks.
  package let isSharded: Bool
  private let trainingRanks: Range<Int>

  /// Groups of `groupSize` ranks; throws where the training ranks are not a multiple of it.
  private init(groupSize: Int, isSharded: Bool, trainingRanks: Range<Int>) throws {
    guard groupSize > 0, trainingRanks.count % groupSize == 0 else {
      throw MilmError(
        "exchange.vocabulary: expected a divisor of the \(trainingRanks.count) training ranks, "
          + "found \(groupSize)")
    }
    self.groupSize = groupSize
    self.isSharded = isSharded || groupSize > 1
    self.trainingRanks = trainingRanks
  }

  /// Groups of `groupSize` ranks, which divides the number of training ranks; groups of one rank replicate the matrix.
  package init(groupSize: Int, trainingRanks: Range<Int>) {
    precondition(trainingRanks.count.isMultiple(of: groupSize), "groups of \(groupSize) ranks")
    self.groupSize = groupSize
    isSharded = groupSize > 1
    self.trainingRanks = trainingRanks
  }

  /// The sizes of the groups that as many training ranks can form, ascending.
  package static func groupSizes(of rankCount: Int) -> [Int] {
    (1...rankCount).filter { rankCount.isMultiple(of: $0) }
  }

  /// The layout that a configuration asks for; `frozen` is the group size of the checkpoint that the run resumes from.
  package init(
    _ choice: ExchangeSettings.Vocabulary, frozen: Int? = nil, trainingRanks: Range<Int>
  ) throws {
    try self.init(
      groupSize: Self.groupSize(choice, frozen: frozen, rankCount: trainingRanks.count),
      isSharded: choice == .sharded, trainingRanks: trainingRanks)
  }

  /// G of a choice.
  ///
  /// `auto` keeps the run's decision where it still divides the training ranks; else it replicates.
  private static func groupSize(
    _ choice: ExchangeSettings.Vocabulary, frozen: Int?, rankCount: Int
  ) -> Int {
    switch choice {
    case .auto:
      guard let frozen, frozen > 0, rankCount % frozen == 0 else { return 1 }
      return frozen
    case .replicated: return 1
    case .sharded: return rankCount
    case .groups(let size): return size
    }
  }

  /// How many groups there are.
  package var groupCount: Int { trainingRanks.count / groupSize }

  /// The shards that several ranks have, whose gradients they exchange.
  package var exchangedShards: Range<Int> { 0..<(isSharded && groupCount > 1 ? groupSize : 0) }

  /// The ranks of a group, in the order of their shards.
  package func ranks(ofGroup group: Int) -> Range<Int> {
    let first = trainingRanks.lowerBound + group * groupSize
    return first..<first + groupSize
  }

  /// The group of a rank; nil for one without lanes.
  package func group(of rank: Int) -> Int? {
    trainingRanks.contains(rank) ? (rank - trainingRanks.lowerBound) / groupSize : nil
  }

  /// The number of a rank's shard; nil for one without lanes.
  package func shardIndex(of rank: Int) -> Int? {
    trainingRanks.contains(rank) ? (rank - trainingRanks.lowerBound) % groupSize : nil
  }

  /// The ranks that have a shard, in the order of their groups.
  package func owners(ofShard index: Int) -> [Int] {
    (0..<groupCount).map { trainingRanks.lowerBound + $0 * groupSize + index }
  }

  /// The elements of the flat buffers that a rank keeps up to date.
  func parameterShard(of rank: Int, _ model: LanguageModel) -> ParameterShard {
    guard isSharded else { return ParameterShard(all: model.parameters) }
    let rows = shardIndex(of: rank).map { model.vocabularyShard(index: $0, count: groupSize) }
    return ParameterShard(model.parameters, rows: rows)
  }

  /// The elements of a rank that rank 0 needs for the whole: those of the first group, which all others have too.
  func contributedShard(of rank: Int, _ model: LanguageModel) -> ParameterShard {
    let isInFirstGroup = group(of: rank) == 0
    return isInFirstGroup || !isSharded
      ? parameterShard(of: rank, model) : ParameterShard(model.parameters, rows: nil)
  }
}

extension VocabularyLayout {
  /// Traffic of a training rank to the others of its group in a step, by the operations of `ShardedVocabulary`.
  ///
  /// `rowCount` rows of z per segment, `accumulation` segments per step, of whose tokens `distinctTokenCount` are distinct.
  package func traffic(
    _ model: LanguageModel, rowCount: Int, accumulation: Int, distinctTokenCount: Double,
    logitsByteBudget: Int = SegmentPass.defaultLogitsByteBudget
  ) -> ExchangeTraffic {
    guard isSharded else { return ExchangeTraffic() }
    let operations = ShardTraffic(ownerCount: groupSize, width: model.tiedMatrix.columnCount)
    let chunkCount = SoftmaxWorkspace.chunkCount(
      of: groupSize * rowCount, shard: model.vocabularyShard(index: 0, count: groupSize),
      byteBudget: logitsByteBudget, precision: .bfloat16)
    let others = Double(groupSize - 1)
    let zCount = Double(rowCount * model.tiedMatrix.columnCount)
    let sumCount = Double(SoftmaxStatistics.floatsPerRow * rowCount) / Double(chunkCount)
    // Looked-up tokens are spread evenly over the shards.
    let lookupCount = distinctTokenCount / Double(groupSize) * others
    let combine = operations.allToAll(otherChunks: sumCount * others) + operations.allGather(chunk: sumCount)
    let segment =
      operations.fetchRows(lookupCount) + operations.allGather(chunk: zCount) + combine * chunkCount
      + operations.allToAll(otherChunks: zCount * others)
    return segment * accumulation + operations.reduceRows(lookupCount)
  }
}
