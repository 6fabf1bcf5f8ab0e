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
    /// The best perplexity on the validation split, where there was one.
    package var bestPerplexity: Double?
    /// The step of the best perplexity.
    package var bestStep: Int?
    /// Writes of checkpoints and metrics that have failed; counted on rank 0.
    package var failedWriteCount: Int
  }

  /// How a run, or a part of it, ended.
  enum Ending {
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
  func run(until lastStep: Int) throws -> Ending {
    defer { reporter?.finish() }
    do {
      return try runSteps(until: min(lastStep, state.configuration.training.steps))
    } catch {
      boundary.fail()
      throw error
    }
  }

  private func runSteps(until lastStep: Int) throws -> Ending {
    var isStopRequested = false
    while state.counters.step < lastStep && !isStopRequested {
      let start = ContinuousClock.now
      guard try boundary.beforeStep(limits: step.timeouts.limits) else { break }
      let stalledSeconds = (ContinuousClock.now - start).inSeconds

      let report = try step.run(flushing: boundary.isSnapshotDue(afterSteps: 1))

      isStopRequested = report.agreed.isStopRequested
      let isLast = isStopRequested || state.counters.step == lastStep
      reporter?.add(report, stalledSeconds: stalledSeconds, state.counters, isLast: isLast)
      try trace?.flushIfDue()
      try verifyReplicas(isLast: isLast)
      if let divergence = step.divergence {
        try boundary.leave()
        return .diverged(divergence)
      }
    }
    try trace?.flush()
    return .finished(try finish(isInterrupted: isStopRequested && state.counters.step < lastStep))
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
    let counters = state.counters
    return Outcome(
      step: counters.step, isFinished: isFinished, isInterrupted: isInterrupted && !isFinished,
      bestPerplexity: counters.bestPerplexity, bestStep: counters.bestStep,
      failedWriteCount: boundary.failedWriteCount + (reporter?.hasFailed == true ? 1 : 0))
  }
}
