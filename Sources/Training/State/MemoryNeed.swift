import Communication
import Foundation
import LanguageModel
import Platform
import Reporting

/// The estimated memory of a rank, in bytes.
package struct MemoryNeed {
  package let byteCount: Int
  private let rankCountOnHost: Int

  /// The need of this rank; `vocabularyGroupSize` is G where `auto` has chosen it.
  package init(
    _ configuration: RunConfiguration, vocabularySize: Int, ranks: Ranks, vocabularyGroupSize: Int? = nil
  ) throws {
    try self.init(
      configuration, vocabularySize: vocabularySize, rank: ranks.rank, rankCount: ranks.rankCount,
      rankCountOnHost: ranks.countOnHost, vocabularyGroupSize: vocabularyGroupSize)
  }

  /// The need of any rank of any job.
  package init(
    _ configuration: RunConfiguration, vocabularySize: Int, rank: Int, rankCount: Int, rankCountOnHost: Int,
    vocabularyGroupSize: Int? = nil
  ) throws {
    let model = LanguageModel(configuration.model, vocabularySize: vocabularySize)
    let sizes = configuration.model
    let share = try LaneShare(configuration, rankCount: rankCount)
    let layout = try VocabularyLayout(
      configuration.exchange.vocabulary, frozen: vocabularyGroupSize, trainingRanks: share.trainingRanks)
    let shard = layout.parameterShard(of: rank, model)
    let all = model.parameters.elementCount
    let own = shard.common.count + shard.ownedCount
    let momentCount = configuration.optimizer.kind == .adam ? 2 : 1
    // Parameters have space for all rows: those that are looked up are fetched.
    var buffers = all + (1 + momentCount) * own
    if rank == Ranks.coordinator {
      // The snapshot, and the parameters that are evaluated.
      buffers += (2 + momentCount) * all
    } else {
      buffers += (1 + momentCount) * shard.ownedCount
    }
    if rankCount > 1, !configuration.exchange.largestCodec.isExact { buffers += 2 * shard.common.count }
    let lanes = share.lanes(of: rank)
    let rows = lanes.count * configuration.training.segment
    // By row: LSTM, what the interactions keep of each k, embeddings and their gradients.
    var columns = 8 * sizes.hidden + 6 * sizes.embedding
    if sizes.variant != .lstm { columns += (sizes.decoderContext + 1) * sizes.embedding }
    if sizes.variant == .multencdec { columns += (sizes.encoderContext + 1) * sizes.embedding }
    let floats =
      buffers + rows * columns
      + rows * configuration.training.accumulate * sizes.embedding
    // Rounded once per step for the softmax; packed in both directions for all other products.
    let operandByteCount = configuration.training.precision.byteCount
    let tied = model.tiedMatrix
    let ownWordCount = shard.rows?.ownRowCount ?? tied.rowCount
    let packed = operandByteCount * (ownWordCount * tied.columnCount + 2 * (all - tied.count))
    byteCount = 4 * floats + packed + SegmentPass.defaultLogitsByteBudget
    self.rankCountOnHost = rankCountOnHost
  }

  /// Whether this host has the memory for all of its ranks; true where the host does not say what is available.
  package var isAvailable: Bool {
    Host.availableByteCount.map { byteCount <= $0 / rankCountOnHost } ?? true
  }

  /// Throws where the ranks of this host need more memory than is available.
  func check() throws {
    guard !isAvailable, let available = Host.availableByteCount else { return }
    throw MilmError(
      "a rank needs about \(Readable.byteCount(byteCount)), but this host has \(Readable.byteCount(available)) "
        + "available for \(rankCountOnHost) ranks: expected a smaller model, fewer lanes or more memory")
  }
}
