import Checkpoints
import Foundation
import Layers

extension CheckpointState {
  /// Lets an evaluation take effect: best figure, patience and plateau.
  ///
  /// Every rank makes the same change from the same perplexity. Returns whether it is the best so far.
  mutating func apply(perplexity: Double, at evaluatedStep: Int, schedule: Schedule) -> Bool {
    pendingEvaluation = nil
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

  /// Whether the run has waited for a gain long enough; patience 0 never ends it.
  func hasRunOutOfPatience(_ patience: Int) -> Bool {
    patience > 0 && patienceUsed >= patience
  }
}
