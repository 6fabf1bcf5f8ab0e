import Foundation

/// The learning rate schedule over the steps of a run.
package struct Schedule: Sendable, Equatable {
  /// The shape of the curve after warm-up.
  package enum Kind: String, CaseIterable, Sendable, Codable {
    case constant
    /// Linear decay to `final` at the last step.
    case linear
    /// Cosine decay to `final` at the last step (Loshchilov & Hutter 2017).
    case cosine
    /// `√(warmup / step)` (Vaswani et al. 2017).
    case inverseSquareRoot = "inverse-sqrt"
    /// Constant until validation stops improving; each time multiplied by `plateauFactor`.
    case plateau
  }

  /// The factor of the rate at a plateau.
  package static let plateauFactor = 0.5

  /// The shape of the curve after warm-up.
  package var kind = Kind.cosine
  /// The number of steps of linear warm-up from zero.
  package var warmup = 2000
  /// The rate at the last step; the floor of a plateau.
  package var final = 1.0e-5

  /// The defaults.
  package init() {}

  /// The rate of a step, counted from 0, in a run of `stepCount` steps;
  /// `plateauScale` is the product of the factors of all plateaus so far.
  package func learningRate(
    step: Int, stepCount: Int, peak: Double, plateauScale: Double = 1
  ) -> Double {
    if step < warmup { return peak * Double(step + 1) / Double(warmup) }
    let lowest = min(final, peak)
    let span = max(1, stepCount - warmup)
    let progress = min(1, Double(step - warmup) / Double(span))
    switch kind {
    case .constant: return peak
    case .linear: return peak + (lowest - peak) * progress
    case .cosine: return lowest + (peak - lowest) * 0.5 * (1 + cos(.pi * progress))
    case .inverseSquareRoot:
      return max(lowest, peak * (Double(max(warmup, 1)) / Double(step + 1)).squareRoot())
    case .plateau: return max(lowest, peak * plateauScale)
    }
  }
}
