import Checkpoints

/// Judges the steps of a run; all ranks reach the same verdict from the same numbers.
struct StepGuard {
  enum Verdict: Equatable {
    case accepted
    /// To be skipped, for this reason.
    case rejected(String)
  }

  /// Lower bounds of the deviations: after a period of steady losses a small jump is no outlier.
  private static let leastLossDeviation = 0.05
  private static let leastRelativeNormDeviation = 0.5

  /// This many skipped steps in a row are a divergence.
  private static let skippedStepLimit = 10

  let settings: GuardConfiguration

  /// The verdict on a step of this loss, in nats per token, and this gradient norm.
  func judge(loss: Double, norm: Double, _ record: CheckpointState.GuardRecord) -> Verdict {
    guard loss.isFinite, norm.isFinite else { return .rejected("a loss or a gradient that is not finite") }
    guard settings.outlier > 0, isFull(record) else { return .accepted }
    let losses = Spread(record.losses)
    if loss > losses.mean + settings.outlier * max(losses.deviation, Self.leastLossDeviation) {
      return .rejected("an outlying loss of \(loss), expected \(losses)")
    }
    let norms = Spread(record.norms)
    let least = norms.mean * Self.leastRelativeNormDeviation
    if norm > norms.mean + settings.outlier * max(norms.deviation, least) {
      return .rejected("an outlying gradient norm of \(norm), expected \(norms)")
    }
    return .accepted
  }

  /// Adds an accepted step to the window.
  func note(loss: Double, norm: Double, step: Int, in record: inout CheckpointState.GuardRecord) {
    record.losses.append(loss)
    record.norms.append(norm)
    record.losses.removeFirst(max(0, record.losses.count - settings.window))
    record.norms.removeFirst(max(0, record.norms.count - settings.window))
    guard isFull(record) else { return }
    let mean = Spread(record.losses).mean
    if mean < record.lowestLoss ?? .infinity {
      record.lowestLoss = mean
      record.lowestLossStep = step
    }
  }

  /// Whether the run has diverged, by many skipped steps in a row or by its loss; nil where it has not.
  func divergence(_ counters: CheckpointState) -> Divergence? {
    let count = counters.consecutiveSkippedStepCount
    if count >= Self.skippedStepLimit {
      // A checkpoint right before the first of them does not count: the divergence began with the update before it.
      return Divergence(
        reason: "\(count) steps in a row had a loss or a gradient that is not finite or outlying, "
          + "the last one step \(counters.step)",
        lastGoodStep: counters.step - count - 1)
    }
    guard let record = counters.guardRecord, let reason = divergence(record) else { return nil }
    return Divergence(
      reason: "\(reason) at step \(counters.step)", lastGoodStep: record.lowestLossStep ?? counters.step)
  }

  private func divergence(_ record: CheckpointState.GuardRecord) -> String? {
    guard settings.divergence > 0, isFull(record), let lowest = record.lowestLoss else { return nil }
    let mean = Spread(record.losses).mean
    guard mean > lowest + settings.divergence else { return nil }
    return "the mean loss of \(settings.window) steps has risen from \(lowest) to \(mean)"
  }

  private func isFull(_ record: CheckpointState.GuardRecord) -> Bool {
    settings.window > 1 && record.losses.count >= settings.window
  }
}

/// Mean and standard deviation, in operations whose bits are the same on every CPU.
private struct Spread: CustomStringConvertible {
  let mean: Double
  let deviation: Double

  init(_ values: [Double]) {
    let mean = values.reduce(0, +) / Double(values.count)
    self.mean = mean
    let squares = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) }
    deviation = (squares / Double(values.count)).squareRoot()
  }

  var description: String { "\(mean) ± \(deviation)" }
}

/// A run whose parameters are no longer good.
struct Divergence {
  let reason: String
  /// Checkpoints up to this step are good.
  let lastGoodStep: Int
}
