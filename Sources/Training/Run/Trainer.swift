import Checkpoints
import Communication
import Foundation
import Platform

/// The training loop: every rank runs it, over its own lanes.
package final class Trainer {
  /// How a run ended.
  package struct Outcome: Sendable, Equatable {
    /// Steps taken since the beginning of the run.
    package var step: Int
    /// Whether the run is over, by its last step or by early stopping.
    package var isFinished: Bool
    /// Whether a `StopRequest` ended it before its last step.
    package var isInterrupted: Bool
    /// Whether it was stopped because checkpoints could not be written.
    package var hasGivenUpWriting = false
    /// The best perplexity on the validation split, where there was one.
    package var bestPerplexity: Double?
    /// The step of the best perplexity.
    package var bestStep: Int?
    /// Writes of checkpoints and metrics that have failed; counted on rank 0.
    package var failedWriteCount: Int

    /// A run at the step of `counters`.
    init(
      _ counters: CheckpointState, isFinished: Bool, isInterrupted: Bool = false,
      hasGivenUpWriting: Bool = false,
      failedWriteCount: Int = 0
    ) {
      step = counters.step
      self.isFinished = isFinished
      self.isInterrupted = isInterrupted
      self.hasGivenUpWriting = hasGivenUpWriting
      let best = counters.best
      bestPerplexity = best?.perplexity
      bestStep = best?.step
      self.failedWriteCount = failedWriteCount
    }
  }

  /// How a run, or a part of it, ended.
  enum EndReason {
    case finished(Outcome)
    case diverged(Divergence)
  }

  private let state: TrainingState
  private let step: Step
  private let boundary: BoundaryWork
  private let reporter: RunReporter?
  private let faults: FaultPlan
  private let trace: RunTrace?

  /// A loop over the steps of a state; `reporter` is nil on all ranks but 0.
  init(
    _ state: TrainingState, step: Step, boundary: BoundaryWork, reporter: RunReporter?, faults: FaultPlan,
    trace: RunTrace?
  ) {
    self.state = state
    self.step = step
    self.boundary = boundary
    self.reporter = reporter
    self.faults = faults
    self.trace = trace
  }

  /// Trains until `lastStep`, until the run is over, has diverged or is asked to stop; then writes a checkpoint.
  func run(until lastStep: Int) throws -> EndReason {
    defer { reporter?.finish() }
    do {
      return try runSteps(until: min(lastStep, state.configuration.training.steps))
    } catch {
      boundary.fail()
      throw error
    }
  }

  private func runSteps(until lastStep: Int) throws -> EndReason {
    var isStopRequested = false
    var isFailing = false
    if state.counters.step < lastStep {
      try state.ranks.onAllRanks("read the tokens of the first step") { try step.readAhead() }
    }
    while state.counters.step < lastStep && !isStopRequested && !isFailing {
      let start = ContinuousClock.now
      guard try boundary.beforeStep(limits: step.timeouts.limits) else { break }
      let stalledSeconds = (ContinuousClock.now - start).inSeconds

      let report = try step.run(
        flushing: boundary.isSnapshotDue(afterSteps: 1), isFailing: boundary.failure != nil)

      isStopRequested = report.agreed.isStopRequested
      isFailing = report.agreed.isFailing && state.counters.step < lastStep
      let isLast = isStopRequested || isFailing || state.counters.step == lastStep
      reporter?.add(report, stalledSeconds: stalledSeconds, state.counters, isLast: isLast)
      try trace?.flushIfDue()
      try verifyReplicas(isLast: isLast)
      if let divergence = step.divergence {
        try boundary.stopBackgroundWork()
        return .diverged(divergence)
      }
    }
    try trace?.flush()
    let isInterrupted = (isStopRequested || isFailing) && state.counters.step < lastStep
    let outcome = try finish(isInterrupted: isInterrupted)
    if isFailing { try reportFailure() }
    return .finished(outcome)
  }

  /// Throws on all ranks why one of them cannot continue; the checkpoint is written.
  private func reportFailure() throws {
    try state.ranks.onAllRanks("end the run") {
      guard let failure = step.readingFailure ?? boundary.failure else { return }
      throw MilmError("\(failure); the run has stopped after step \(state.counters.step), with a checkpoint")
    }
  }

  /// Throws where the ranks' parameters differ, before a checkpoint is written.
  private func verifyReplicas(isLast: Bool) throws {
    let every = state.configuration.exchange.hashEvery
    let step = state.counters.step
    faults.corrupt(state.parameters, step: step)
    guard every > 0, step % every == 0 || isLast || boundary.isSnapshotDue(afterSteps: 0) else { return }
    try state.verifyReplicas()
  }

  private func finish(isInterrupted: Bool) throws -> Outcome {
    let isFinished = try boundary.close(isInterrupted: isInterrupted, limits: step.timeouts.limits)
    let stopsEarly = isInterrupted && !isFinished
    let hasGivenUp = try stopsEarly && state.ranks.broadcast(boundary.hasGivenUpWriting)
    return Outcome(
      state.counters, isFinished: isFinished, isInterrupted: stopsEarly && !hasGivenUp,
      hasGivenUpWriting: hasGivenUp,
      failedWriteCount: boundary.failedWriteCount + (reporter?.hasFailed == true ? 1 : 0))
  }
}
