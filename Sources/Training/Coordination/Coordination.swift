import Checkpoints
import Communication
import Foundation
import Layers
import Tensors

/// What all ranks do together between steps: collect snapshots for rank 0, and let evaluations take effect.
///
/// Rank 0 alone has a coordinator; the others give what it needs and hear what it found.
final class Coordination {
  /// Whether there is to be another step.
  enum Decision { case goOn, stop }

  /// What this process began from.
  enum Origin: Equatable {
    /// The beginning of the run.
    case beginning
    /// A checkpoint of this run.
    case ownCheckpoint(Int)
    /// A checkpoint of another run, which this one continues.
    case otherRun
  }

  private let replica: Replica
  private let coordinator: Coordinator?
  private let snapshot: Snapshot?
  private let evaluates: Bool
  /// The step of the checkpoint that this process began from, until the first boundary; or nil.
  private var resumedStep: Int?
  /// Whether a first checkpoint is due although the step says nothing of it.
  private var isAdopted: Bool

  /// The coordination of a replica; `coordinator` is nil on all ranks but 0,
  /// and `evaluates` is the same on all.
  init(_ replica: Replica, coordinator: Coordinator?, evaluates: Bool, origin: Origin) {
    self.replica = replica
    self.coordinator = coordinator
    self.evaluates = evaluates
    isAdopted = origin == .otherRun
    if case .ownCheckpoint(let step) = origin { resumedStep = step }
    snapshot = coordinator.map { _ in Snapshot(replica) }
    if let pending = replica.state.pendingEvaluation, let perplexity = pending.perplexity {
      coordinator?.recall(perplexity: perplexity, at: pending.step)
    }
  }

  /// At the boundary before a step: an evaluation begun `evaluateEvery` steps ago takes effect,
  /// then what is due is begun.
  func beforeStep() throws -> Decision {
    let settings = replica.configuration.coordinator
    let step = replica.state.step
    if let pending = replica.state.pendingEvaluation, step >= pending.step + settings.evaluateEvery {
      try letTakeEffect(pending)
    }
    if replica.state.hasRunOutOfPatience(settings.patience) { return .stop }
    if step == resumedStep {
      try repeatPendingEvaluation()
    } else {
      try begin(duePurpose(at: step))
    }
    return .goOn
  }

  /// Whether the state of a step is written or evaluated.
  ///
  /// In the update before it gradient and residuals travel exactly, so that the snapshot need not carry residuals.
  func takesSnapshot(atStep step: Int) -> Bool {
    let settings = replica.configuration.coordinator
    return step % settings.checkpointEvery == 0 || evaluates && step % settings.evaluateEvery == 0
  }

  private func duePurpose(at step: Int) -> Coordinator.Purpose {
    let settings = replica.configuration.coordinator
    var purpose = Coordinator.Purpose()
    if isAdopted { purpose.insert(.checkpoint) }
    isAdopted = false
    // While steps are skipped the parameters may be ruined: the checkpoints before that are the good ones.
    guard step > 0, replica.state.consecutiveSkippedStepCount == 0 else { return purpose }
    if step % settings.checkpointEvery == 0 { purpose.insert(.checkpoint) }
    if evaluates && step % settings.evaluateEvery == 0 { purpose.formUnion([.evaluation, .keepingBest]) }
    return purpose
  }

  /// After the last step: everything is written, and at the end of the run everything takes effect.
  func finish(reporterFailed: Bool) throws -> Trainer.Outcome {
    let settings = replica.configuration.coordinator
    let step = replica.state.step
    let isOver =
      step >= replica.configuration.training.steps || replica.state.hasRunOutOfPatience(settings.patience)
    if isOver {
      if let pending = replica.state.pendingEvaluation { try letTakeEffect(pending) }
      if evaluates, step >= replica.configuration.training.steps, step != resumedStep {
        try begin(.evaluation)
        try replica.state.pendingEvaluation.map(letTakeEffect)
      }
    } else if evaluates, step % settings.evaluateEvery == 0, step != resumedStep {
      if let pending = replica.state.pendingEvaluation { try letTakeEffect(pending) }
      // The run goes on later; its next process evaluates these parameters,
      // and they take effect when they should.
      replica.state.pendingEvaluation = .init(step: step)
    }
    if step != resumedStep { try begin(.checkpoint) }
    try coordinator?.waitUntilIdle()
    if let best = replica.state.bestStep { coordinator?.markBest(best) }
    try coordinator?.waitUntilIdle()
    return Trainer.Outcome(
      step: step, isFinished: isOver, bestPerplexity: replica.state.bestPerplexity,
      bestStep: replica.state.bestStep,
      failedWriteCount: (coordinator?.failedWriteCount ?? 0) + (reporterFailed ? 1 : 0))
  }

  /// The newest checkpoint from before the steps that are being skipped, for an error message; the same on all ranks.
  ///
  /// One written just before the first of them is left out: the update before it is what ruined the parameters.
  func lastGoodCheckpoint() throws -> String {
    try coordinator?.waitUntilIdle()
    let firstSkipped = replica.state.step - replica.state.consecutiveSkippedStepCount
    let text = coordinator.map { $0.checkpointPath(before: firstSkipped) ?? "none" } ?? ""
    let bytes = try replica.ranks.control.broadcast(
      "last checkpoint", Array(text.utf8), from: Ranks.coordinator)
    return String(decoding: bytes, as: UTF8.self)
  }

  /// Collects a snapshot from all ranks and has rank 0 work on it.
  private func begin(_ purpose: Coordinator.Purpose) throws {
    guard !purpose.isEmpty else { return }
    if purpose.contains(.evaluation) { replica.state.pendingEvaluation = .init(step: replica.state.step) }
    // The one snapshot may still be worked on; the others wait here with rank 0, not in the exchange.
    try coordinator?.waitUntilIdle()
    try replica.collect(into: snapshot)
    if let snapshot { coordinator?.begin(snapshot, purpose) }
  }

  /// Begins again the evaluation of the parameters that this process was restored to,
  /// where its result was not known.
  private func repeatPendingEvaluation() throws {
    resumedStep = nil
    if let pending = replica.state.pendingEvaluation, pending.perplexity == nil {
      try begin([.evaluation, .keepingBest])
    }
  }

  private func letTakeEffect(_ pending: CheckpointState.PendingEvaluation) throws {
    let own = try coordinator?.perplexity(at: pending.step) ?? 0
    // A sum in which all but rank 0 give nothing is a broadcast that keeps every bit.
    let perplexity = try replica.ranks.control.sum("perplexity of step \(pending.step)", [own])[0]
    let isBest = replica.state.apply(
      perplexity: perplexity, at: pending.step, schedule: replica.configuration.schedule)
    if isBest { coordinator?.markBest(pending.step) }
  }
}
