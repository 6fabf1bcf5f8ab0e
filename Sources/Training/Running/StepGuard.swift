import Checkpoints

/// How steps that would harm the model are told from others, and what is done when they are many.
public struct GuardConfiguration: Sendable, Equatable {
  /// Over how many good steps mean and deviation are taken; until there are so many nothing is outlying.
  public var window = 100
  /// How many standard deviations above the mean a loss or a gradient's norm is outlying; 0 for never.
  public var outlier = 10.0
  /// How many nats a token the mean loss may rise above its lowest before the run counts as diverged; 0: any.
  public var divergence = 2.0
  /// How often a run that diverges goes back to its last good checkpoint.
  public var returns = 2
  /// What the learning rate is multiplied by then.
  public var rateFactor = 0.5
}

/// Judges the steps of a run; every rank comes to the same verdict from the same numbers.
struct StepGuard {
  /// What a step is to the run.
  enum Verdict: Equatable {
    case sound
    /// To be skipped, and why.
    case harmful(String)
  }

  /// Deviations below these are taken for these: a calm stretch must not make a small jump an outlier.
  private static let leastLossDeviation = 0.05
  private static let leastNormDeviationShare = 0.5

  let settings: GuardConfiguration

  /// The verdict on a step with this loss in nats a token and this norm of its gradient.
  func judge(loss: Double, norm: Double, _ record: CheckpointState.GuardRecord) -> Verdict {
    guard loss.isFinite, norm.isFinite else { return .harmful("a loss or a gradient that is not finite") }
    guard settings.outlier > 0, isFull(record) else { return .sound }
    let losses = Spread(record.losses)
    if loss > losses.mean + settings.outlier * max(losses.deviation, Self.leastLossDeviation) {
      return .harmful("a loss of \(loss), where \(losses) is usual")
    }
    let norms = Spread(record.norms)
    let least = norms.mean * Self.leastNormDeviationShare
    if norm > norms.mean + settings.outlier * max(norms.deviation, least) {
      return .harmful("a gradient of norm \(norm), where \(norms) is usual")
    }
    return .sound
  }

  /// Takes a good step into the window.
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

  /// Why the run has diverged, or nil where it has not.
  func divergence(_ record: CheckpointState.GuardRecord) -> String? {
    guard settings.divergence > 0, isFull(record), let lowest = record.lowestLoss else { return nil }
    let mean = Spread(record.losses).mean
    guard mean > lowest + settings.divergence else { return nil }
    return "the mean loss of \(settings.window) steps has risen from \(lowest) to \(mean)"
  }

  private func isFull(_ record: CheckpointState.GuardRecord) -> Bool {
    settings.window > 1 && record.losses.count >= settings.window
  }
}

/// Mean and standard deviation, by operations that give the same bits on every CPU.
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

/// A run that has gone wrong, and what is still good of it.
struct Divergence {
  /// One line.
  let reason: String
  /// Checkpoints of this step and before are good.
  let lastGoodStep: Int
}
