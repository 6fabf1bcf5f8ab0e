import Communication
import Foundation
import LanguageModel
import Layers
import Logging
import Reporting
import Tensors

/// The loop: every rank runs it, over its own lanes; rank 0 has a reporter and a coordinator beside it.
public final class Trainer {
  /// How a run ended.
  public struct Outcome: Sendable, Equatable {
    /// Steps taken since the beginning of the run.
    public var step: Int
    /// Whether the run is over, by its last step or for want of gain.
    public var isFinished: Bool
    /// Whether a `StopRequest` ended it before its last step.
    public var isInterrupted: Bool
    /// The best perplexity on the validation split, where there was one.
    public var bestPerplexity: Double?
    /// The step of the best perplexity.
    public var bestStep: Int?
    /// Checkpoints and metrics that could not be written; counted on rank 0.
    public var failedWriteCount: Int
  }

  /// How a run, or a part of it, ended.
  enum Ending {
    case finished(Outcome)
    case diverged(Divergence)
  }

  /// After how many skipped steps in a row the run counts as diverged.
  private static let skippedStepLimit = 10

  private let replica: Replica
  private let data: TrainingData
  private let gradients: ParameterBuffer
  private let work: BoundaryWork
  private let reporter: RunReporter?
  private let stop: StopRequest
  private let faults: FaultPlan
  private let logger: Logger
  private let stepGuard: StepGuard
  private let savedState: CarriedState
  private let arena = Arena()
  private var timeouts: StepTimeouts
  private let tuner: CodecTuner
  private let trace: RunTrace?

  /// A trainer of a replica that is new or restored.
  init(
    _ replica: Replica, data: TrainingData, work: BoundaryWork, reporter: RunReporter?,
    stop: StopRequest, faults: FaultPlan, logger: Logger, trace: RunTrace? = nil
  ) {
    self.trace = trace
    self.replica = replica
    self.data = data
    self.work = work
    self.reporter = reporter
    self.stop = stop
    self.faults = faults
    self.logger = logger
    stepGuard = StepGuard(settings: replica.configuration.guarding)
    timeouts = StepTimeouts(replica.configuration.exchange) { logger.warning("\($0)") }
    tuner = CodecTuner(replica, logger: logger)
    gradients = ParameterBuffer(replica.model.parameters)
    savedState = CarriedState(
      like: replica.pass.carriedState, laneCount: replica.pass.laneCount, in: arena)
  }

  /// A trainer whose steps are taken for their time: no checkpoints, no reports.
  convenience init(alone replica: Replica, data: TrainingData) {
    let boundary = Boundary(replica.configuration, origin: .fresh, evaluates: false)
    let work = BoundaryWork(boundary, replica, coordinator: nil, faults: FaultPlan())
    self.init(
      replica, data: data, work: work, reporter: nil, stop: StopRequest(),
      faults: FaultPlan(),
      logger: Logger(label: "alone"))
  }

  /// Trains until `lastStep`, until the run is over or until somebody wishes it to stop;
  /// a checkpoint is written at the stop.
  func run(until lastStep: Int) throws -> Ending {
    defer { reporter?.finish() }
    do {
      return try runSteps(until: min(lastStep, replica.configuration.training.steps))
    } catch {
      work.fail()
      throw error
    }
  }

  private func runSteps(until lastStep: Int) throws -> Ending {
    var isStopRequested = false
    while replica.state.step < lastStep && !isStopRequested {
      let start = ContinuousClock.now
      guard try work.beforeStep(limits: timeouts.limits) else { break }
      let stalledSeconds = (ContinuousClock.now - start).inSeconds
      var report = try takeStep()
      report.stalledSeconds = stalledSeconds
      isStopRequested = report.isStopRequested
      let isLast = isStopRequested || replica.state.step == lastStep
      self.report(report, isLast: isLast)
      try trace?.flushIfDue()
      try verifyReplicas(isLast: isLast)
      if let divergence = divergence() {
        try work.leave()
        return .diverged(divergence)
      }
    }
    try trace?.flush()
    return .finished(try finish(isInterrupted: isStopRequested && replica.state.step < lastStep))
  }

  private func finish(isInterrupted: Bool) throws -> Outcome {
    let isFinished = try work.close(isInterrupted: isInterrupted, limits: timeouts.limits)
    let state = replica.state
    return Outcome(
      step: state.step, isFinished: isFinished, isInterrupted: isInterrupted && !isFinished,
      bestPerplexity: state.bestPerplexity, bestStep: state.bestStep,
      failedWriteCount: work.failedWriteCount + (reporter?.hasFailed == true ? 1 : 0))
  }

  /// One update: segments forward and backward, exchange, guard, clipping, optimizer.
  func takeStep() throws -> StepReport {
    let clock = ContinuousClock()
    let start = clock.now
    let configuration = replica.configuration
    let step = replica.state.step
    let spans = trace?.begin(step: step)
    try faults.inject(.step, step: step)
    savedState.copy(from: replica.pass.carriedState)
    let limits = timeouts.limits
    replica.beginStep(
      gradients, flushing: work.boundary.takesSnapshot(atStep: step + 1), limits: limits,
      isTraced: spans != nil)
    let activity = replica.ranks.control.liveness?.activity
    activity?.note("step \(step): forward and backward", warnSeconds: limits.warnSeconds)
    spans?.end("prepare")
    let submitting = FaultySink(faults, step: step, after: replica.exchangeSink(gradients))
    let loss = try replica.accumulateSegments(
      of: data, into: gradients, sink: spans.map { TracingSink($0, before: submitting) } ?? submitting)
    activity?.note("step \(step): exchange and update")
    let computeSeconds = (clock.now - start).inSeconds - (replica.sharing?.cost.exposedSeconds ?? 0)
    let exchanged = try replica.finishExchange()
    spans?.end("wait for the exchange", .wait)

    let squares = replica.optimizer.squares(of: gradients)
    let sums = try agree(on: step, loss: loss, ownedSquares: squares.owned, limits: limits)
    spans?.end("agree on the step", .wait)
    let norm = (squares.common + sums.ownedSquares).squareRoot()
    let lossPerToken = sums.loss / Double(configuration.tokensPerStep)
    var record = replica.state.guardRecord ?? .init()
    switch stepGuard.judge(loss: lossPerToken, norm: norm, record) {
    case .sound:
      update(norm: norm, rate: sums.rate)
      stepGuard.note(loss: lossPerToken, norm: norm, step: step + 1, in: &record)
    case .harmful(let reason):
      skip()
      reporter?.warn(step: step, skippedBecauseOf: reason)
    }
    replica.state.guardRecord = record
    spans?.end("update")
    if let spans { trace?.end(spans, exchanged.trace) }
    replica.state.step += 1
    if norm.isFinite {
      try tuner.consider(exchanged, gradient: replica.common(gradients), retunes: sums.retuneCount > 0)
    }
    replica.state.segmentIndex += configuration.training.accumulate
    replica.state.tokenCount += configuration.tokensPerStep
    let seconds = (clock.now - start).inSeconds
    timeouts.note(stepSeconds: seconds)
    return StepReport(
      loss: sums.loss, gradientNorm: norm, learningRate: sums.rate, computeSeconds: computeSeconds,
      exchange: exchanged, isStopRequested: sums.stopCount > 0)
  }

  /// What all ranks share at each step: the sum of their losses, rank 0's rate, how many wish to stop, how many to
  /// choose the codec anew, and the sum of the squares of what each alone has of the gradient.
  ///
  /// Rank 0's rate is everyone's: a cosine may have other last digits on another CPU.
  private func agree(
    on step: Int, loss: Double, ownedSquares: Double, limits: StallLimits
  ) throws -> (loss: Double, rate: Double, stopCount: Double, retuneCount: Double, ownedSquares: Double) {
    let sums = try replica.ranks.control.sum(
      "loss of step \(step)",
      [
        loss, replica.ranks.isCoordinator ? learningRate(of: step) : 0, stop.isMade ? 1 : 0,
        tuner.wantsRetuning ? 1 : 0, ownedSquares,
      ], limits: limits)
    return (sums[0], sums[1], sums[2], sums[3], sums[4])
  }

  private func learningRate(of step: Int) -> Double {
    let configuration = replica.configuration
    let rate = configuration.schedule.learningRate(
      step: step, stepCount: configuration.training.steps, peak: configuration.optimizer.learningRate,
      plateauScale: replica.state.plateau.rateScale)
    return rate * (replica.state.guardRecord?.rateScale ?? 1)
  }

  private func update(norm: Double, rate: Double) {
    replica.exchange.commit()
    // Adam's bias correction counts the updates that were made.
    let updateCount = replica.state.step + 1 - replica.state.skippedStepCount
    replica.optimizer.update(
      replica.parameters, gradient: gradients, gradientScale: replica.optimizer.clippingScale(norm: norm),
      learningRate: rate, updateCount: updateCount)
    replica.state.consecutiveSkippedStepCount = 0
  }

  /// Leaves everything as it was before the step, but for its place in the data.
  private func skip() {
    replica.exchange.rollback()
    let accumulate = replica.configuration.training.accumulate
    let segments = replica.state.segmentIndex..<replica.state.segmentIndex + accumulate
    if segments.contains(where: data.lanes.isEpochStart) {
      // What comes next belongs to the new epoch, and the state from before the step to the old one.
      replica.pass.carriedState.reset()
    } else {
      replica.pass.carriedState.copy(from: savedState)
    }
    replica.state.skippedStepCount += 1
    replica.state.consecutiveSkippedStepCount += 1
  }

  private func report(_ report: StepReport, isLast: Bool) {
    let state = replica.state
    let epoch = Double(state.segmentIndex) / Double(data.lanes.segmentsPerEpoch)
    reporter?.add(
      report, step: state.step, epoch: epoch, tokenCount: state.tokenCount,
      skippedStepCount: state.skippedStepCount, isLast: isLast)
  }

  /// Ends the run where the replicas have drifted apart, before a checkpoint is made of them.
  private func verifyReplicas(isLast: Bool) throws {
    let every = replica.configuration.exchange.hashEvery
    let step = replica.state.step
    faults.garble(replica.parameters, step: step)
    guard every > 0, step % every == 0 || isLast || work.boundary.takesSnapshot(atStep: step) else { return }
    try replica.ranks.control.verifyReplicas(hashes: replica.hashes(), step: step)
  }

  /// Whether the run has gone wrong; the same on all ranks.
  private func divergence() -> Divergence? {
    let state = replica.state
    let count = state.consecutiveSkippedStepCount
    if count >= Self.skippedStepLimit {
      // A checkpoint written just before the first of them does not count: the update before it is what
      // ruined the parameters.
      return Divergence(
        reason: "\(count) steps in a row had a loss or a gradient that is not finite or outlying, "
          + "the last one step \(state.step)",
        lastGoodStep: state.step - count - 1)
    }
    guard let record = state.guardRecord, let reason = stepGuard.divergence(record) else { return nil }
    return Divergence(
      reason: "\(reason) at step \(state.step)", lastGoodStep: record.lowestLossStep ?? state.step)
  }
}
