import Foundation
import Layers

/// The jump of the learning rate when a run is resumed with another `training.steps`.
package struct RateJump: Sendable, CustomStringConvertible {
  /// Relative differences up to this are not worth a line.
  private static let tolerance = 0.01

  private let kind: Schedule.Kind
  private let step: Int
  private let stepCounts: (earlier: Int, new: Int)
  private let rates: (earlier: Double, new: Double)

  /// The jump at the next step after `step`; nil where the rate stays what it would have been.
  package init?(from earlier: RunConfiguration, to configuration: RunConfiguration, atStep step: Int) {
    func rate(_ stepCount: Int) -> Double {
      configuration.schedule.learningRate(
        step: step, stepCount: stepCount, peak: configuration.optimizer.learningRate)
    }
    stepCounts = (earlier.training.steps, configuration.training.steps)
    rates = (rate(stepCounts.earlier), rate(stepCounts.new))
    kind = configuration.schedule.kind
    self.step = step
    guard abs(rates.new - rates.earlier) > Self.tolerance * max(rates.new, rates.earlier) else { return nil }
  }

  /// One line: by how much, and what avoids it.
  package var description: String {
    let ratio = rates.earlier > 0 ? String(format: " (× %.3g)", rates.new / rates.earlier) : ""
    return
      "training.steps is \(stepCounts.new), \(stepCounts.earlier) before: the schedule \(kind.rawValue) follows it, "
      + "and the learning rate of step \(step + 1) is "
      + String(format: "%.3g in place of %.3g", rates.new, rates.earlier) + ratio
      + "; avoided by the same training.steps, or by a run with schedule.kind constant or plateau"
  }
}
