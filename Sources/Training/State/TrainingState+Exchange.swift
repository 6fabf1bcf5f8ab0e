import Communication
import Layers
import Tensors

/// The exchange of a step's gradient: of what all ranks have, and of the rows of the tied matrix where they live.
///
/// Training and benchmarks begin, end and set both here. A step calls `beginStep` and `beginExchange` before its first pass,
/// `finishExchange` after its last one, then `commitExchange` or `rollbackExchange`.
extension TrainingState {
  /// Begins a step; `limits` say how long ranks wait for each other.
  func beginStep(limits: StallLimits, isTraced: Bool) {
    placement.begin(step: counters.step, limits: limits, isTraced: isTraced)
  }

  /// Begins the exchange of a step, which replaces `gradients` by the mean over all ranks.
  ///
  /// If it is `flushing`, gradient and residuals are sent exactly.
  func beginExchange(of gradients: ParameterBuffer, flushing: Bool, limits: StallLimits, isTraced: Bool) {
    exchange.isTraced = isTraced
    exchange.begin(
      step: counters.step, flushing: flushing, gradient: common(gradients), limits: limits)
    placement.beginExchange(
      step: counters.step, flushing: flushing, limits: limits, isTraced: isTraced)
  }

  /// Waits for the exchange and returns what it has cost.
  func finishExchange(of gradients: ParameterBuffer) throws -> ExchangeReport {
    var report = try exchange.finish()
    try placement.finish(gradients, &report)
    return report
  }

  /// Ends a step that was applied: its rounding errors become the residuals.
  package func commitExchange() {
    exchange.commit()
    placement.commit()
  }

  /// Ends a step that was skipped: residuals are what they were before.
  func rollbackExchange() {
    exchange.rollback()
    placement.rollback()
  }

  /// Sets the codec of the steps that follow; the same on all ranks.
  package func choose(_ codec: Codec) {
    exchange.choose(codec)
    placement.choose(codec)
  }
}
