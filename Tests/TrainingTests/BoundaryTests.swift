import Checkpoints
import Testing
import Training

/// What is due follows from what a process began from, the configuration and the step.
@Suite struct BoundaryTests {
  /// A point in a run that evaluates every 4 steps and writes a checkpoint every 3.
  struct Place: Sendable, CustomStringConvertible {
    var step: Int
    var origin = Boundary.Origin.fresh
    var pending: CheckpointState.PendingEvaluation?
    var isSkipping = false
    var evaluates = true
    var isInterrupted = false
    var patienceUsed = 0
    var evaluatedStep: Int?

    var description: String {
      "step \(step), \(origin), pending \(pending.map { "\($0.step)" } ?? "none")"
        + (isSkipping ? ", skipping" : "") + (evaluates ? "" : ", without evaluation")
    }

    var configuration: RunConfiguration {
      get throws {
        try RunConfiguration(
          yaml: "training: { steps: 20 }\ncoordinator: { evaluateEvery: 4, checkpointEvery: 3, patience: 2 }",
          source: "the test")
      }
    }
  }

  private static func state(_ place: Place) -> CheckpointState {
    var state = CheckpointState(step: place.step)
    state.pendingEvaluation = place.pending
    state.consecutiveSkippedStepCount = place.isSkipping ? 1 : 0
    state.patienceUsed = place.patienceUsed
    state.lastEvaluation = place.evaluatedStep.map { .init(step: $0, perplexity: 9) }
    return state
  }

  static let places: [(Place, Boundary.Due)] = [
    // The beginning of a run has nothing to write.
    (Place(step: 0), .init()),
    (Place(step: 1), .init()),
    (Place(step: 3), .init(isWritten: true)),
    // The evaluated parameters are written too.
    (Place(step: 4), .init(isWritten: true, isEvaluated: true)),
    (Place(step: 4, evaluates: false), .init()),
    (Place(step: 12, evaluates: false), .init(isWritten: true)),
    // An evaluation takes effect when the next one is due, and not before.
    (Place(step: 7, pending: .init(step: 4)), .init()),
    (
      Place(step: 8, pending: .init(step: 4)),
      .init(effectiveEvaluation: 4, isWritten: true, isEvaluated: true)
    ),
    (
      Place(step: 8, pending: .init(step: 4, perplexity: 9)),
      .init(effectiveEvaluation: 4, isWritten: true, isEvaluated: true)
    ),
    // The parameters may have diverged while steps are skipped.
    (Place(step: 3, isSkipping: true), .init()),
    (Place(step: 8, pending: .init(step: 4), isSkipping: true), .init(effectiveEvaluation: 4)),
    // The checkpoint that a process resumes from is there.
    (Place(step: 3, origin: .resumed(3)), .init()),
    (Place(step: 4, origin: .resumed(4)), .init()),
    (Place(step: 4, origin: .resumed(4), pending: .init(step: 4)), .init(isEvaluated: true)),
    (Place(step: 4, origin: .resumed(4), pending: .init(step: 4, perplexity: 9)), .init()),
    (Place(step: 6, origin: .resumed(6), pending: .init(step: 4)), .init(restartedEvaluation: 4)),
    (Place(step: 6, origin: .resumed(6), pending: .init(step: 4, perplexity: 9)), .init()),
    (
      Place(step: 8, origin: .resumed(8), pending: .init(step: 4)),
      .init(restartedEvaluation: 4, effectiveEvaluation: 4, isEvaluated: true)
    ),
    (
      Place(step: 8, origin: .resumed(8), pending: .init(step: 4, perplexity: 9)),
      .init(effectiveEvaluation: 4, isEvaluated: true)
    ),
    // Later boundaries are those of any process.
    (Place(step: 7, origin: .resumed(6), pending: .init(step: 4)), .init()),
    (Place(step: 12, origin: .resumed(6)), .init(isWritten: true, isEvaluated: true)),
    // An adopted checkpoint is written again, whatever the step.
    (Place(step: 5, origin: .adopted(5)), .init(isWritten: true)),
    (Place(step: 5, origin: .adopted(5), isSkipping: true), .init(isWritten: true)),
    (
      Place(step: 6, origin: .adopted(6), pending: .init(step: 4)),
      .init(restartedEvaluation: 4, isWritten: true)
    ),
    (
      Place(step: 8, origin: .adopted(8), pending: .init(step: 8)), .init(isWritten: true, isEvaluated: true)
    ),
    (Place(step: 6, origin: .adopted(5)), .init(isWritten: true)),
    (Place(step: 7, origin: .adopted(5)), .init()),
  ]

  @Test(arguments: places) func whatIsDueBeforeAStep(_ place: Place, _ due: Boundary.Due) throws {
    let boundary = Boundary(try place.configuration, origin: place.origin, evaluates: place.evaluates)
    #expect(boundary.due(at: Self.state(place)) == due)
  }

  static let ends: [(Place, Boundary.Closing)] = [
    // The process stops, and another one continues.
    (Place(step: 5), .init(last: .isUnscheduled, isWritten: true)),
    (
      Place(step: 5, pending: .init(step: 4)),
      .init(pending: .awaitsPerplexity, last: .isUnscheduled, isWritten: true)
    ),
    (Place(step: 8), .init(last: .awaitsPerplexity, isWritten: true)),
    (
      Place(step: 8, pending: .init(step: 4)),
      .init(pending: .takesEffect, last: .awaitsPerplexity, isWritten: true)
    ),
    (Place(step: 5, evaluates: false), .init(isWritten: true)),
    // While steps are skipped no evaluation is due.
    (
      Place(step: 8, pending: .init(step: 4), isSkipping: true),
      .init(pending: .awaitsPerplexity, last: .isUnscheduled, isWritten: true)
    ),
    // It has taken no step: what an earlier one has left is evaluated, and nothing else.
    (
      Place(step: 5, origin: .resumed(5), pending: .init(step: 4)),
      .init(last: .isUnscheduled, isWritten: true)
    ),
    (
      Place(step: 8, origin: .resumed(8), pending: .init(step: 8)),
      .init(last: .awaitsPerplexity, isWritten: true)
    ),
    (Place(step: 8, origin: .resumed(8), pending: .init(step: 8, perplexity: 9)), .init()),
    (Place(step: 8, origin: .resumed(8), evaluatedStep: 8), .init()),
    (Place(step: 5, origin: .resumed(5), evaluates: false), .init()),
    (
      Place(step: 8, origin: .adopted(8), pending: .init(step: 8)),
      .init(last: .awaitsPerplexity, isWritten: true)
    ),
    // It is interrupted, and has little time.
    (Place(step: 5, isInterrupted: true), .init(pending: .isAbandoned, isWritten: true)),
    (
      Place(step: 8, isInterrupted: true),
      .init(pending: .isAbandoned, last: .isDeferred, isWritten: true)
    ),
    (
      Place(step: 8, pending: .init(step: 4), isInterrupted: true),
      .init(pending: .isAbandoned, isWritten: true)
    ),
    (
      Place(step: 8, isSkipping: true, isInterrupted: true), .init(pending: .isAbandoned, isWritten: true)
    ),
    // The run is over: by its last step, which is evaluated whatever its number, or by early stopping.
    (Place(step: 20), .init(isOver: true, last: .takesEffect, isWritten: true)),
    (
      Place(step: 20, pending: .init(step: 16)),
      .init(isOver: true, pending: .takesEffect, last: .takesEffect, isWritten: true)
    ),
    (Place(step: 20, evaluates: false), .init(isOver: true, isWritten: true)),
    (Place(step: 20, origin: .resumed(20)), .init(isOver: true, last: .takesEffect, isWritten: true)),
    (Place(step: 20, origin: .resumed(20), evaluatedStep: 20), .init(isOver: true)),
    (Place(step: 20, origin: .resumed(20), evaluates: false), .init(isOver: true)),
    (
      Place(step: 20, origin: .resumed(20), pending: .init(step: 20)),
      .init(isOver: true, pending: .takesEffect, isWritten: true)
    ),
    (
      Place(step: 9, pending: .init(step: 8), patienceUsed: 2),
      .init(isOver: true, pending: .takesEffect, last: .isUnscheduled, isWritten: true)
    ),
  ]

  @Test(arguments: ends) func whatIsDueAfterTheLastStep(_ place: Place, _ closing: Boundary.Closing) throws {
    let boundary = Boundary(try place.configuration, origin: place.origin, evaluates: place.evaluates)
    #expect(boundary.closing(at: Self.state(place), isInterrupted: place.isInterrupted) == closing)
  }

  static let scheduled: [(Place, Bool)] = [
    (Place(step: 3), true), (Place(step: 4), true), (Place(step: 5), false), (Place(step: 20), true),
    (Place(step: 4, evaluates: false), false), (Place(step: 3, isSkipping: true), false),
    (Place(step: 5, origin: .resumed(5)), false), (Place(step: 5, origin: .adopted(5)), true),
  ]

  @Test(arguments: scheduled)
  func aCheckpointIsScheduledWhereAnUninterruptedRunHasOne(_ place: Place, _ isScheduled: Bool) throws {
    let boundary = Boundary(try place.configuration, origin: place.origin, evaluates: place.evaluates)
    #expect(boundary.isScheduled(Self.state(place)) == isScheduled)
  }

  /// For all periods and all ways to cut a run into processes: evaluations begin and take effect at the same steps.
  @Test(arguments: 1...4, 1...4)
  func processesOneAfterTheOtherEvaluateWhatOneDoes(evaluateEvery: Int, checkpointEvery: Int) throws {
    var configuration = RunConfiguration()
    configuration.training.steps = 9
    configuration.coordinator.evaluateEvery = evaluateEvery
    configuration.coordinator.checkpointEvery = checkpointEvery
    let whole = SimulatedRun(configuration).process(from: .fresh, until: 9, isInterrupted: false)
    for (first, second) in (1...8).flatMap({ first in (first...8).map { (first, $0) } }) {
      for isInterrupted in [false, true] {
        for begin in [Boundary.Origin.resumed, Boundary.Origin.adopted] {
          let parts = SimulatedRun(configuration)
            .process(from: .fresh, until: first, isInterrupted: isInterrupted)
            .process(from: begin(first), until: second, isInterrupted: isInterrupted)
            .process(from: .resumed(second), until: 9, isInterrupted: false)
          #expect(parts.effects == whole.effects, "cut at \(first) and \(second)")
          #expect(parts.missingResults.isEmpty, "cut at \(first) and \(second)")
        }
      }
    }
  }
}

/// A run reduced to the steps of its evaluations.
private struct SimulatedRun {
  private let configuration: RunConfiguration
  private var state = CheckpointState(step: 0)
  /// Steps of evaluations that have taken effect, with the step at which they did.
  private(set) var effects: [[Int]] = []
  /// Evaluations that should have taken effect and were not made by the process.
  private(set) var missingResults: [Int] = []

  init(_ configuration: RunConfiguration) {
    self.configuration = configuration
  }

  /// The run after another process.
  func process(from origin: Boundary.Origin, until lastStep: Int, isInterrupted: Bool) -> SimulatedRun {
    var run = self
    let boundary = Boundary(configuration, origin: origin, evaluates: true)
    var evaluated: Set<Int> = []
    if let pending = run.state.pendingEvaluation, pending.perplexity != nil { evaluated.insert(pending.step) }
    func apply(_ run: inout SimulatedRun) {
      guard let pending = run.state.pendingEvaluation else { return }
      if !evaluated.contains(pending.step) { run.missingResults.append(pending.step) }
      run.effects.append([pending.step, run.state.step])
      run.state.pendingEvaluation = nil
    }
    func evaluate(_ run: inout SimulatedRun) {
      run.state.pendingEvaluation = .init(step: run.state.step)
      evaluated.insert(run.state.step)
    }
    while run.state.step < lastStep {
      let due = boundary.due(at: run.state)
      if let step = due.restartedEvaluation { evaluated.insert(step) }
      if due.effectiveEvaluation != nil { apply(&run) }
      if due.isEvaluated { evaluate(&run) }
      run.state.step += 1
    }
    let closing = boundary.closing(at: run.state, isInterrupted: isInterrupted)
    switch closing.pending {
    case .none, .isAbandoned: break
    case .takesEffect: apply(&run)
    case .awaitsPerplexity: run.state.pendingEvaluation?.perplexity = 1
    }
    switch closing.last {
    case .none: break
    case .takesEffect:
      evaluate(&run)
      apply(&run)
    case .awaitsPerplexity: run.state.pendingEvaluation = .init(step: run.state.step, perplexity: 1)
    case .isUnscheduled: break
    case .isDeferred: run.state.pendingEvaluation = .init(step: run.state.step)
    }
    return run
  }
}

extension CheckpointState {
  /// The counters of a run after `step` steps.
  fileprivate init(step: Int) {
    self.init(
      step: step, segmentIndex: step, tokenCount: step, rankCount: 1, threadCount: 1, engine: "",
      cpuLevel: "",
      precision: "", programVersion: "", configuration: "", vocabularyHash: "")
  }
}
