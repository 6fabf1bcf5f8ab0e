import Checkpoints
import Communication
import Foundation
import Layers
import Tensors

/// Does what is due at a boundary; all ranks call it together.
///
/// Rank 0 alone has a coordinator; the others send what it needs, and receive what it found.
final class BoundaryWork {
  private let boundary: Boundary
  private let state: TrainingState
  private let coordinator: Coordinator?
  private let snapshot: Snapshot?
  private let transfer: ShardTransfer?
  private let faults: FaultPlan

  /// The work of a process; `coordinator` is nil on all ranks but 0.
  init(_ boundary: Boundary, _ state: TrainingState, coordinator: Coordinator?, faults: FaultPlan) {
    self.boundary = boundary
    self.state = state
    self.coordinator = coordinator
    self.faults = faults
    snapshot = coordinator.map { _ in Snapshot(state) }
    transfer = ShardTransfer(state)
    if let snapshot { coordinator?.prepare(snapshot) }
    if let pending = state.counters.pendingEvaluation, let perplexity = pending.perplexity {
      coordinator?.keep(perplexity: perplexity, at: pending.step)
    }
  }

  /// Whether the state is written or evaluated so many steps from now.
  ///
  /// In the update before it gradient and residuals travel exactly, so that the snapshot need not carry residuals.
  func isSnapshotDue(afterSteps count: Int) -> Bool {
    boundary.takesSnapshot(atStep: state.counters.step + count)
  }

  /// Writes of checkpoints and metrics that have failed; counted on rank 0.
  var failedWriteCount: Int { coordinator?.failedWriteCount ?? 0 }

  /// Why the background work of rank 0 cannot go on.
  var failure: (any Error)? { coordinator?.evaluationFailure }

  /// Does what is due before a step; false where the run ends here, by early stopping.
  ///
  /// `limits` say how long ranks wait for each other.
  func beforeStep(limits: StallLimits) throws -> Bool {
    let due = boundary.due(at: state.counters)
    if let step = due.restartedEvaluation {
      let isBegun = try state.ranks.broadcast(coordinator?.restartEvaluation(ofStep: step) ?? false)
      if !isBegun { state.counters.pendingEvaluation = nil }
    }
    if due.effectiveEvaluation != nil { try applyPendingEvaluation() }
    if state.counters.hasRunOutOfPatience(state.configuration.coordinator.patience) { return false }
    try begin(writing: due.isWritten, evaluating: due.isEvaluated, limits)
    return true
  }

  /// Does what is due after the last step; returns whether the run is over.
  func close(isInterrupted: Bool, limits: StallLimits) throws -> Bool {
    let closing = boundary.closing(at: state.counters, isInterrupted: isInterrupted)
    switch closing.pending {
    case .none: break
    case .takesEffect: try applyPendingEvaluation()
    case .isAbandoned: coordinator?.abandonEvaluation()
    case .isAwaited: _ = try state.counters.pendingEvaluation.map { try coordinator?.perplexity(at: $0.step) }
    }
    switch closing.last {
    case .none: break
    case .takesEffect:
      try begin(writing: false, evaluating: true, limits)
      try applyPendingEvaluation()
    case .isLeftToTheNextProcess: state.counters.pendingEvaluation = .init(step: state.counters.step)
    }
    if closing.isWritten {
      coordinator?.waitUntilWritten()
      try begin(writing: true, evaluating: false, limits)
    }
    try transfer?.finish()
    coordinator?.waitUntilWritten()
    if let best = state.counters.bestStep { coordinator?.markBest(best) }
    coordinator?.waitUntilWritten()
    return closing.isOver
  }

  /// Ends all background work, so that the run can return to an earlier checkpoint.
  func leave() throws {
    try transfer?.finish()
    coordinator?.abandonEvaluation()
    coordinator?.waitUntilWritten()
  }

  /// After a failure: completes the checkpoint that is being written, whose state is good.
  func fail() {
    coordinator?.finishWriting()
  }

  /// Takes a snapshot from all ranks and has rank 0 work on it.
  private func begin(writing: Bool, evaluating: Bool, _ limits: StallLimits) throws {
    let step = state.counters.step
    if evaluating { state.counters.pendingEvaluation = .init(step: step) }
    if try writing && takeSnapshot(limits) {
      guard let snapshot else { return }
      if evaluating { coordinator?.evaluate(snapshot) }
      coordinator?.write(snapshot)
    } else if evaluating {
      try state.gatherParameters()
      coordinator?.evaluate(step: step) { $0.copy(from: state.parameters, engine: state.engine) }
    }
  }

  /// False, on all ranks, where the previous snapshot is still being written and this one is skipped.
  private func takeSnapshot(_ limits: StallLimits) throws -> Bool {
    let step = state.counters.step
    transfer?.setUrgent()
    // The one snapshot may still be written; the others wait here with rank 0, not in the exchange.
    guard try state.ranks.broadcast(coordinator?.canBeginCheckpoint(ofStep: step) ?? true) else {
      return false
    }
    try faults.inject(.snapshot, step: step)
    // From here on nobody waits for a disk: a late rank is stuck.
    try state.ranks.control.barrier("snapshot of step \(step)", limits: limits)
    try state.snapshot(into: snapshot, by: transfer)
    return true
  }

  /// Waits for the pending evaluation, if there is one, and applies its result.
  private func applyPendingEvaluation() throws {
    guard let pending = state.counters.pendingEvaluation else { return }
    // Rank 0 may still wait for the parameters that it is to evaluate.
    transfer?.setUrgent()
    let own = try coordinator?.perplexity(at: pending.step) ?? 0
    // A sum in which all ranks but 0 contribute zero is a broadcast that keeps every bit.
    let perplexity = try state.ranks.control.sum("perplexity of step \(pending.step)", [own])[0]
    let isBest = state.counters.apply(
      perplexity: perplexity, at: pending.step, schedule: state.configuration.schedule)
    if isBest { coordinator?.markBest(pending.step) }
  }
}
