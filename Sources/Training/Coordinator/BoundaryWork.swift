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
  private let transfer: ShardTransfer
  private let faults: FaultPlan

  /// The work of a process; `coordinator` is nil on all ranks but 0.
  init(_ boundary: Boundary, _ state: TrainingState, coordinator: Coordinator?, faults: FaultPlan) throws {
    self.boundary = boundary
    self.state = state
    self.coordinator = coordinator
    self.faults = faults
    snapshot = coordinator.map { _ in Snapshot(state) }
    transfer = try ShardTransfer(state)
    if let snapshot { coordinator?.prepare(snapshot) }
    if let pending = state.counters.pendingEvaluation, let perplexity = pending.perplexity {
      coordinator?.keep(perplexity: perplexity, at: pending.step)
    }
  }

  /// Whether the state is written or evaluated after `count` more steps.
  ///
  /// In the update before it gradient and residuals are sent exactly, so that the snapshot need not carry residuals.
  func isSnapshotDue(afterSteps count: Int) -> Bool {
    boundary.takesSnapshot(atStep: state.counters.step + count)
  }

  /// Writes of checkpoints and metrics that have failed; counted on rank 0.
  var failedWriteCount: Int { coordinator?.failedWriteCount ?? 0 }

  /// Whether the run was stopped because checkpoints could not be written; known on rank 0.
  var hasGivenUpWriting: Bool { coordinator?.hasGivenUpWriting ?? false }

  /// Why the background work of rank 0 cannot continue.
  var failure: (any Error)? { coordinator?.evaluationFailure }

  /// Does what is due before a step; false where the run ends here, by early stopping.
  ///
  /// `limits` say how long ranks wait for each other.
  func beforeStep(limits: StallLimits) throws -> Bool {
    state.counters.stopEvaluation = nil
    let due = boundary.due(at: state.counters)
    if let step = due.restartedEvaluation { try restartEvaluation(ofStep: step) }
    if due.effectiveEvaluation != nil { try applyPendingEvaluation() }
    if state.counters.hasRunOutOfPatience(state.configuration.coordinator.patience) { return false }
    try begin(writing: due.isWritten, evaluating: due.isEvaluated, limits)
    return true
  }

  /// Does what is due after the last step; returns whether the run is over.
  func close(isInterrupted: Bool, limits: StallLimits) throws -> Bool {
    let closing = boundary.closing(at: state.counters, isInterrupted: isInterrupted)
    let step = state.counters.step
    switch closing.pending {
    case .none: break
    case .takesEffect:
      try completePendingEvaluation()
      try applyPendingEvaluation()
    case .isAbandoned: coordinator?.abandonEvaluation()
    case .awaitsPerplexity: _ = try state.counters.pendingEvaluation.map { try awaitPerplexity(of: $0.step) }
    }
    switch closing.last {
    case .none: break
    case .takesEffect:
      try evaluate()
      state.counters.pendingEvaluation = .init(step: step)
      try applyPendingEvaluation()
    case .awaitsPerplexity:
      try evaluate()
      state.counters.pendingEvaluation = .init(step: step, perplexity: try perplexity(at: step))
    case .isUnscheduled:
      try evaluate()
      state.counters.stopEvaluation = .init(step: step, perplexity: try perplexity(at: step))
    case .isDeferred: state.counters.pendingEvaluation = .init(step: step)
    }
    if closing.isWritten {
      coordinator?.waitUntilWritten()
      try begin(writing: true, evaluating: false, limits)
    }
    try transfer.finish()
    coordinator?.waitUntilWritten()
    if let best = state.counters.best { coordinator?.markBest(best.step) }
    coordinator?.waitUntilWritten()
    return closing.isOver
  }

  /// Ends all background work, so that the run can return to an earlier checkpoint.
  func stopBackgroundWork() throws {
    try transfer.finish()
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
      try evaluate()
    }
  }

  /// Begins to evaluate the parameters as they are.
  private func evaluate() throws {
    try transfer.gatherParameters(of: state)
    coordinator?.evaluate(step: state.counters.step) { $0.copy(from: state.parameters, engine: state.engine) }
  }

  /// Restarts an evaluation that an earlier process left unfinished; without its checkpoint it is lost.
  private func restartEvaluation(ofStep step: Int) throws {
    let isBegun = try state.ranks.broadcast(coordinator?.restartEvaluation(ofStep: step) ?? false)
    if !isBegun { state.counters.pendingEvaluation = nil }
  }

  /// Evaluates what an earlier process left to this one, where it takes no step before the result is needed.
  private func completePendingEvaluation() throws {
    guard let pending = state.counters.pendingEvaluation, pending.perplexity == nil,
      state.counters.step == boundary.origin.step
    else { return }
    if pending.step < state.counters.step {
      try restartEvaluation(ofStep: pending.step)
    } else {
      try evaluate()
    }
  }

  /// False, on all ranks, where the previous snapshot is still being written and this one is skipped.
  private func takeSnapshot(_ limits: StallLimits) throws -> Bool {
    let step = state.counters.step
    transfer.setUrgent()
    // The one snapshot may still be written; the others wait here with rank 0, not in the exchange.
    guard try state.ranks.broadcast(coordinator?.canBeginCheckpoint(ofStep: step) ?? true) else {
      return false
    }
    try faults.inject(.snapshot, step: step)
    state.counters.isScheduled = boundary.isScheduled(state.counters)
    // From here on no rank waits for a disk: a straggler has stalled.
    try state.ranks.control.barrier("snapshot of step \(step)", limits: limits)
    try state.snapshot(into: snapshot, by: transfer)
    return true
  }

  /// Waits for the pending evaluation, if there is one, and applies its result.
  private func applyPendingEvaluation() throws {
    guard let pending = state.counters.pendingEvaluation else { return }
    let perplexity = try perplexity(at: pending.step)
    let isBest = state.counters.apply(
      perplexity: perplexity, at: pending.step, schedule: state.configuration.schedule)
    if isBest { coordinator?.markBest(pending.step) }
  }

  /// The perplexity of the parameters of a step on all ranks, waited for.
  private func perplexity(at step: Int) throws -> Double {
    // Rank 0 may still wait for the parameters that it is to evaluate.
    transfer.setUrgent()
    let own = try awaitPerplexity(of: step) ?? 0
    // A sum in which all ranks but 0 contribute zero is a broadcast that keeps every bit.
    return try state.ranks.control.sum("perplexity of step \(step)", [own])[0]
  }

  /// The perplexity of an evaluation, waited for; nil on all ranks but 0, whose wait is no stall.
  private func awaitPerplexity(of step: Int) throws -> Double? {
    guard let coordinator else { return nil }
    let activity = state.ranks.control.liveness?.activity
    activity?.note("evaluation of step \(step)", isExpectedToLast: true)
    defer { activity?.note("step \(state.counters.step): boundary") }
    return try coordinator.perplexity(at: step)
  }
}
