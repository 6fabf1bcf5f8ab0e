import Checkpoints
import Layers

/// The schedule of checkpoints and evaluations between two steps, and after the last one.
///
/// It follows from what the process began from, the configuration, and the counters at that step; all ranks come to the
/// same answer.
package struct Boundary: Sendable {
  /// The starting point of a process.
  package enum Origin: Equatable, Sendable {
    /// The beginning of the run.
    case fresh
    /// The checkpoint of this step, which is one of the run.
    case resumed(Int)
    /// The checkpoint of this step, which is written again before the first step: it belongs to another run, or the guard
    /// has returned to it.
    case adopted(Int)

    /// The step that the process began at, where that is not the beginning of the run.
    package var step: Int? {
      switch self {
      case .fresh: nil
      case .resumed(let step), .adopted(let step): step
      }
    }
  }

  /// Work due before a step, in the order of execution.
  package struct Due: Equatable, Sendable {
    /// The step of an evaluation that an earlier process left unfinished: it starts again, from that step's checkpoint.
    package var restartedEvaluation: Int?
    /// The step of the evaluation whose result takes effect.
    package var effectiveEvaluation: Int?
    /// Whether a checkpoint is written.
    package var isWritten = false
    /// Whether an evaluation begins.
    package var isEvaluated = false

    package init(
      restartedEvaluation: Int? = nil, effectiveEvaluation: Int? = nil, isWritten: Bool = false,
      isEvaluated: Bool = false
    ) {
      self.restartedEvaluation = restartedEvaluation
      self.effectiveEvaluation = effectiveEvaluation
      self.isWritten = isWritten
      self.isEvaluated = isEvaluated
    }
  }

  /// Work due after the last step of a process.
  package struct Closing: Equatable, Sendable {
    /// The treatment of an evaluation that is under way.
    package enum PendingEvaluation {
      case none
      /// The process waits for the perplexity and applies it: best checkpoint, patience, plateau.
      case takesEffect
      case isAbandoned
      /// The process waits for the perplexity, so that the last checkpoint holds it; the next process applies it.
      case awaitsPerplexity
    }

    /// The treatment of the evaluation of the last step.
    package enum LastEvaluation {
      case none
      /// It counts as the run's last.
      case takesEffect
      /// It was due: the last checkpoint holds its perplexity, which the next process applies when an uninterrupted run
      /// would.
      case awaitsPerplexity
      /// It was not due: its perplexity is recorded and never takes effect.
      case isUnscheduled
      /// It was due: the next process evaluates.
      case isDeferred

      /// Whether this process evaluates.
      var isMade: Bool { self != .none && self != .isDeferred }
    }

    /// Whether the run is over, by its last step or by early stopping.
    package var isOver: Bool
    /// The evaluation that is under way.
    package var pending: PendingEvaluation
    /// The evaluation of the last step.
    package var last: LastEvaluation
    /// Whether a checkpoint is written.
    package var isWritten: Bool

    package init(
      isOver: Bool = false, pending: PendingEvaluation = .none, last: LastEvaluation = .none,
      isWritten: Bool = false
    ) {
      self.isOver = isOver
      self.pending = pending
      self.last = last
      self.isWritten = isWritten
    }
  }

  package let origin: Origin
  private let settings: CoordinatorConfiguration
  private let stepCount: Int
  /// Steps between evaluations that begin; nil for none.
  private let evaluateEvery: Int?

  /// The boundaries of a process; nothing is evaluated unless it `evaluates`.
  package init(_ configuration: RunConfiguration, origin: Origin, evaluates: Bool) {
    self.origin = origin
    settings = configuration.coordinator
    stepCount = configuration.training.steps
    evaluateEvery = evaluates && settings.evaluateEvery > 0 ? settings.evaluateEvery : nil
  }

  /// Whether the state after `step` steps is written or evaluated.
  ///
  /// In the update before it gradient and residuals are sent exactly, so that the snapshot need not carry residuals.
  package func takesSnapshot(atStep step: Int) -> Bool {
    step % settings.checkpointEvery == 0 || evaluates(atStep: step)
  }

  /// The work due before the next step.
  package func due(at state: CheckpointState) -> Due {
    let step = state.step
    let pending = state.pendingEvaluation
    var due = Due()
    if let pending {
      if step == origin.step, pending.step < step, pending.perplexity == nil {
        due.restartedEvaluation = pending.step
      }
      // Or before the next one begins, where a resumed run evaluates more rarely than before.
      if step >= pending.step + settings.evaluateEvery || step > pending.step && evaluates(atStep: step) {
        due.effectiveEvaluation = pending.step
      }
    }
    // While steps are skipped the parameters may have diverged: only checkpoints before that are good.
    let isGood = step > 0 && state.consecutiveSkippedStepCount == 0
    // The evaluated state is written too: it may be the best, and an interrupted evaluation starts again from it.
    due.isEvaluated = isGood && evaluates(atStep: step)
    due.isWritten = isGood && takesSnapshot(atStep: step) || origin == .adopted(step)
    if origin == .resumed(step) {
      // The checkpoint is there; an interrupted process left the evaluation of its step to this one.
      due.isWritten = false
      if due.effectiveEvaluation == nil {
        due.isEvaluated = pending?.step == step && pending?.perplexity == nil
      }
    }
    return due
  }

  /// Whether a run has a checkpoint of this state wherever its processes stop.
  ///
  /// While steps are skipped none is written; what a run began from is its first.
  package func isScheduled(_ state: CheckpointState) -> Bool {
    state.consecutiveSkippedStepCount == 0 && takesSnapshot(atStep: state.step)
      || origin == .adopted(state.step)
  }

  /// The work due after the last step that this process takes.
  ///
  /// The last step is evaluated, so that the best checkpoint of the run is known. An interrupted run has little time: what is
  /// evaluated is left to its next process, which evaluates the checkpoint that it finds where it takes no step.
  package func closing(at state: CheckpointState, isInterrupted: Bool) -> Closing {
    let step = state.step
    let hasPending = state.pendingEvaluation != nil
    let hasStepped = step != origin.step
    let isDue = hasStepped && evaluates(atStep: step) && state.consecutiveSkippedStepCount == 0
    var closing = Closing()
    closing.isOver = step >= stepCount || state.hasRunOutOfPatience(settings.patience)
    if closing.isOver {
      closing.pending = hasPending ? .takesEffect : .none
      if isUnevaluated(state), state.pendingEvaluation?.step != step {
        closing.last = step >= stepCount ? .takesEffect : .isUnscheduled
      }
    } else if isInterrupted {
      closing.pending = .isAbandoned
      if isDue, !hasPending { closing.last = .isDeferred }
    } else {
      // The last checkpoint is to have the result of what is under way.
      closing.pending = !hasPending || !hasStepped ? .none : isDue ? .takesEffect : .awaitsPerplexity
      if isUnevaluated(state) {
        closing.last = isDue || state.pendingEvaluation?.step == step ? .awaitsPerplexity : .isUnscheduled
      }
    }
    // Otherwise the process has done nothing, and its checkpoint is there.
    closing.isWritten = origin != .resumed(step) || closing.last.isMade || closing.pending == .takesEffect
    return closing
  }

  /// Whether nothing is known about the parameters of a state, though the process evaluates.
  package func isUnevaluated(_ state: CheckpointState) -> Bool {
    evaluateEvery != nil && state.step > 0 && state.ownPerplexity == nil
  }

  private func evaluates(atStep step: Int) -> Bool { evaluateEvery.map { step % $0 == 0 } ?? false }
}

extension CheckpointState {
  /// Whether the run has this checkpoint wherever its processes stop; of an earlier version the step alone is known.
  func isScheduled(_ configuration: RunConfiguration, evaluates: Bool) -> Bool {
    isScheduled
      ?? Boundary(configuration, origin: .fresh, evaluates: evaluates).takesSnapshot(atStep: step)
  }

  /// Applies the result of an evaluation: best perplexity, patience and plateau.
  ///
  /// Every rank makes the same change from the same perplexity. Returns whether it is the best so far.
  mutating func apply(perplexity: Double, at evaluatedStep: Int, schedule: Schedule) -> Bool {
    pendingEvaluation = nil
    lastEvaluation = Evaluation(step: evaluatedStep, perplexity: perplexity)
    let isBest = perplexity < bestPerplexity ?? .infinity
    guard !isBest else {
      bestPerplexity = perplexity
      bestStep = evaluatedStep
      patienceUsed = 0
      plateau.evaluationsWithoutGain = 0
      return true
    }
    patienceUsed += 1
    if schedule.kind == .plateau {
      plateau.rateScale *= Schedule.plateauFactor
      plateau.evaluationsWithoutGain = 0
    } else {
      plateau.evaluationsWithoutGain += 1
    }
    return false
  }

  /// Whether `patience` evaluations in a row have brought no improvement; patience 0 never ends a run.
  func hasRunOutOfPatience(_ patience: Int) -> Bool {
    patience > 0 && patienceUsed >= patience
  }
}
