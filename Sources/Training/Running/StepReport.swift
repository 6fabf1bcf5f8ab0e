import Communication

/// What one step was, the same on every rank but for the times.
struct StepReport {
  /// The sum of the losses in nats over all lanes of all ranks.
  let loss: Double
  /// The norm of the mean gradient before clipping.
  let gradientNorm: Double
  /// The common rate of the step.
  let learningRate: Double
  /// From the beginning of the forward pass to the end of the backward pass, on this rank.
  let computeSeconds: Double
  /// Before the step, on this rank: copying for a checkpoint or an evaluation, waiting for a disk or for a result.
  var stalledSeconds = 0.0
  /// The exchange on this rank.
  let exchange: ExchangeReport
  /// Whether a stop was requested on any rank.
  let isStopRequested: Bool
}
