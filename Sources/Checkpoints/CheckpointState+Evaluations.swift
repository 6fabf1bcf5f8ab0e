/// Results on the validation split.
extension CheckpointState {
  /// The results that are known, whether they have taken effect or not.
  private var evaluations: [Evaluation] {
    let best = bestStep.flatMap { step in bestPerplexity.map { Evaluation(step: step, perplexity: $0) } }
    let pending = pendingEvaluation.flatMap { pending in
      pending.perplexity.map { Evaluation(step: pending.step, perplexity: $0) }
    }
    return [best, lastEvaluation, pending, stopEvaluation].compactMap { $0 }
  }

  /// The evaluation of the lowest perplexity of all that are known; the earlier one of two that are equal.
  package var best: Evaluation? {
    evaluations.filter { !$0.perplexity.isNaN }.min { ($0.perplexity, $0.step) < ($1.perplexity, $1.step) }
  }

  /// The perplexity of the parameters of this very checkpoint; nil where they have not been evaluated.
  package var ownPerplexity: Double? { evaluations.first { $0.step == step }?.perplexity }

  /// The state as another validation split finds it: no result counts any more, and a new best starts.
  package func withoutEvaluations() -> CheckpointState {
    var state = self
    state.bestPerplexity = nil
    state.bestStep = nil
    state.lastEvaluation = nil
    state.stopEvaluation = nil
    state.pendingEvaluation?.perplexity = nil
    state.patienceUsed = 0
    state.plateau.evaluationsWithoutGain = 0
    return state
  }
}
