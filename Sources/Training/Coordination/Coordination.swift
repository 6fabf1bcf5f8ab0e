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
    /// A checkpoint that is to be written again as this process leaves it: that of another run,
    /// or one that the guard has gone back to.
    case adopted
  }

  private let replica: Replica
  private let coordinator: Coordinator?
  private let snapshot: Snapshot?
  private let transfer: ShardTransfer?
  private let evaluates: Bool
  private let faults: FaultPlan
  /// The checkpoint that this process began from; nil on all ranks but 0, and where it began anew.
  private let restoredPath: String?
  /// The step that this process was restored to, until the first boundary; or nil.
  private var restoredStep: Int?
  /// The step of the checkpoint that stands already, until the first boundary; or nil.
  private var resumedStep: Int?
  /// Whether a first checkpoint is due although the step says nothing of it.
  private var isAdopted: Bool

  /// The coordination of a replica; `coordinator` is nil on all ranks but 0, where `restoredPath` is nil too,
  /// and `evaluates` is the same on all.
  init(
    _ replica: Replica, coordinator: Coordinator?, evaluates: Bool, origin: Origin, restoredPath: String?,
    faults: FaultPlan
  ) {
    self.replica = replica
    self.coordinator = coordinator
    self.evaluates = evaluates
    self.faults = faults
    self.restoredPath = restoredPath
    isAdopted = origin == .adopted
    if origin != .beginning { restoredStep = replica.state.step }
    if case .ownCheckpoint(let step) = origin { resumedStep = step }
    snapshot = coordinator.map { _ in Snapshot(replica) }
    transfer = ShardTransfer(replica)
    if let snapshot { coordinator?.prepare(snapshot) }
    if let pending = replica.state.pendingEvaluation, let perplexity = pending.perplexity {
      coordinator?.recall(perplexity: perplexity, at: pending.step)
    }
  }

  /// At the boundary before a step: an evaluation begun `evaluateEvery` steps ago takes effect,
  /// then what is due is begun.
  ///
  /// `limits` say how long ranks wait for each other.
  func beforeStep(limits: StallLimits) throws -> Decision {
    let settings = replica.configuration.coordinator
    let step = replica.state.step
    if step == restoredStep { try takeUpEarlierEvaluation() }
    restoredStep = nil
    let due = replica.state.pendingEvaluation.flatMap { step >= $0.step + settings.evaluateEvery ? $0 : nil }
    if let due { try letTakeEffect(due) }
    if replica.state.hasRunOutOfPatience(settings.patience) { return .stop }
    if step == resumedStep {
      // An interrupted process wrote the checkpoint, and left the evaluation of its step to this one.
      let pending = replica.state.pendingEvaluation
      let isLeft = due != nil ? duePurpose(at: step).contains(.evaluation) : pending?.step == step
      if isLeft, pending?.perplexity == nil { try begin(.evaluation, limits) }
      resumedStep = nil
    } else {
      try begin(duePurpose(at: step), limits)
      isAdopted = false
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
    // While steps are skipped the parameters may be ruined: the checkpoints before that are the good ones.
    guard step > 0, replica.state.consecutiveSkippedStepCount == 0 else { return purpose }
    if step % settings.checkpointEvery == 0 { purpose.insert(.checkpoint) }
    // The evaluated state is written too: it may be the best, and an interrupted evaluation begins again from it.
    if evaluates && step % settings.evaluateEvery == 0 { purpose.formUnion([.evaluation, .checkpoint]) }
    return purpose
  }

  /// After the last step: everything is written, and at the end of the run everything takes effect.
  ///
  /// An interrupted run has little time: what is evaluated is left for its next process.
  func finish(
    isInterrupted: Bool, reporterFailed: Bool, limits: StallLimits
  ) throws -> Trainer.Outcome {
    let settings = replica.configuration.coordinator
    let step = replica.state.step
    let isOver =
      step >= replica.configuration.training.steps || replica.state.hasRunOutOfPatience(settings.patience)
    if isOver {
      if let pending = replica.state.pendingEvaluation { try letTakeEffect(pending) }
      if evaluates, step >= replica.configuration.training.steps, step != resumedStep {
        try begin(.evaluation, limits)
        try replica.state.pendingEvaluation.map(letTakeEffect)
      }
    } else if isInterrupted {
      coordinator?.abandonEvaluation()
      if evaluates, step % settings.evaluateEvery == 0, replica.state.pendingEvaluation == nil {
        replica.state.pendingEvaluation = .init(step: step)
      }
    } else if evaluates, step % settings.evaluateEvery == 0, step != resumedStep {
      if let pending = replica.state.pendingEvaluation { try letTakeEffect(pending) }
      // The run goes on later; its next process evaluates these parameters,
      // and they take effect when they should.
      replica.state.pendingEvaluation = .init(step: step)
    } else if let pending = replica.state.pendingEvaluation, restoredStep == nil {
      // Waited for, so that the last checkpoint has the result.
      _ = try coordinator?.perplexity(at: pending.step)
    }
    if step != resumedStep {
      coordinator?.waitUntilWritten()
      try begin(.checkpoint, limits)
    }
    try transfer?.finish()
    coordinator?.waitUntilWritten()
    if let best = replica.state.bestStep { coordinator?.markBest(best) }
    coordinator?.waitUntilWritten()
    return Trainer.Outcome(
      step: step, isFinished: isOver, isInterrupted: isInterrupted && !isOver,
      bestPerplexity: replica.state.bestPerplexity, bestStep: replica.state.bestStep,
      failedWriteCount: (coordinator?.failedWriteCount ?? 0) + (reporterFailed ? 1 : 0))
  }

  /// Ends all work in the background, so that the run can go back to an earlier checkpoint.
  func leave() throws {
    try transfer?.finish()
    coordinator?.abandonEvaluation()
    coordinator?.waitUntilWritten()
  }

  /// What is still done when training has failed.
  func fail() {
    coordinator?.finishWriting()
  }

  /// Collects a snapshot from all ranks and has rank 0 work on it.
  private func begin(_ purpose: Coordinator.Purpose, _ limits: StallLimits) throws {
    guard !purpose.isEmpty else { return }
    let step = replica.state.step
    if purpose.contains(.evaluation) { replica.state.pendingEvaluation = .init(step: step) }
    let isCollected = try purpose.contains(.checkpoint) && collectSnapshot(limits)
    if isCollected {
      if purpose.contains(.evaluation), let snapshot { coordinator?.evaluate(snapshot) }
    } else if purpose.contains(.evaluation) {
      try replica.gatherParameters()
      coordinator?.evaluate(step: step) { $0.copy(from: replica.parameters, engine: replica.engine) }
    }
    if isCollected, let snapshot { coordinator?.write(snapshot) }
  }

  /// False, on all ranks, where the snapshot before is still being written and there is no waiting for it.
  private func collectSnapshot(_ limits: StallLimits) throws -> Bool {
    let step = replica.state.step
    transfer?.hurry()
    // The one snapshot may still be written; the others wait here with rank 0, not in the exchange.
    guard try replica.ranks.share(coordinator?.canBeginCheckpoint(ofStep: step) ?? true) else { return false }
    try faults.strike(.snapshot, step: step)
    // From here on nobody waits for a disk: who is late is stuck.
    try replica.ranks.control.barrier("snapshot of step \(step)", limits: limits)
    try replica.collect(into: snapshot, by: transfer)
    return true
  }

  /// Begins again an evaluation of an earlier step that was under way when the checkpoint was written.
  private func takeUpEarlierEvaluation() throws {
    guard let pending = replica.state.pendingEvaluation, pending.perplexity == nil,
      pending.step < replica.state.step
    else { return }
    let isBegun = restoredPath.map { path in
      let runPath = URL(filePath: path).resolvingSymlinksInPath().deletingLastPathComponent()
        .deletingLastPathComponent().path
      let location = RunDirectory(path: runPath).location(ofStep: pending.step)
      return coordinator?.evaluate(checkpoint: location.path, step: pending.step) ?? false
    }
    if try !replica.ranks.share(isBegun ?? false) { replica.state.pendingEvaluation = nil }
  }

  private func letTakeEffect(_ pending: CheckpointState.PendingEvaluation) throws {
    // Rank 0 may still wait for what it is to evaluate.
    transfer?.hurry()
    let own = try coordinator?.perplexity(at: pending.step) ?? 0
    // A sum in which all but rank 0 give nothing is a broadcast that keeps every bit.
    let perplexity = try replica.ranks.control.sum("perplexity of step \(pending.step)", [own])[0]
    let isBest = replica.state.apply(
      perplexity: perplexity, at: pending.step, schedule: replica.configuration.schedule)
    if isBest { coordinator?.markBest(pending.step) }
  }
}
