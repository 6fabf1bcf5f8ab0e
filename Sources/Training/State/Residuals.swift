import Checkpoints
import Communication
import Layers

/// Residuals of all exchanges of a run, on their way to and from `exchange.safetensors`.
///
/// The exchange of all ranks has `sender.NNNN` for each rank, and `owner`; those of the vocabulary's shards are in
/// `ShardResiduals`.
extension TrainingState {
  /// Copies the residuals of all ranks into rank 0's snapshot; all ranks call it.
  func gatherResiduals(into snapshot: Snapshot?) throws {
    try exchange.gatherResiduals(over: ranks.control, to: Ranks.coordinator) { part, values in
      snapshot?.add(part.tensorName, values)
    }
    try placement.residuals.gather(over: ranks.control) { snapshot?.add($0, $1) }
  }

  /// Distributes the residuals of a checkpoint, which rank 0 alone reads; all ranks call it.
  ///
  /// Where ranks, nodes or the placement of the vocabulary differ from those of the run that saved them, the correction
  /// pending for the mean gradient is kept: Σ sender residuals ÷ senders + owner residuals.
  func restoreResiduals(_ checkpoint: Checkpoint?, saved counters: CheckpointState) throws {
    let file = try checkpoint.flatMap { try ResidualFile($0, counters, model: model) }
    try exchange.restoreResiduals(
      try file?.residuals(of: shard.common), over: ranks.control, from: Ranks.coordinator)
    let isSamePlacement =
      try VocabularyLayout(saved: counters) == layout && counters.rankCount == ranks.rankCount
      && NodeLayout(nodeOfRank: counters.nodeOfRank ?? Array(0..<counters.rankCount)) == exchange.layout
    try placement.residuals.restore(file, isSamePlacement: isSamePlacement, over: ranks.control)
  }
}
