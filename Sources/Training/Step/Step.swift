import Checkpoints
import Communication
import Foundation
import LanguageModel
import Layers
import Logging
import Platform
import Tensors

/// One update of the training state, on all ranks together.
package final class Step {
  private let state: TrainingState
  private let data: TrainingData
  private let stop: StopRequest
  private let faults: FaultPlan
  private let trace: RunTrace?
  private let logger: Logger
  private let stepGuard: StepGuard
  private let tuner: CodecTuner
  private let buffers: StepBuffers
  /// The gradient of the current step, or of the last one.
  package var gradients: ParameterBuffer { buffers.gradients }
  /// How long ranks wait for each other, in the next step.
  private(set) var timeouts: StepTimeouts
  /// Why this rank cannot read the tokens of the next step.
  private(set) var readingFailure: (any Error)?
  /// Whether the run has diverged, after the last step; the same on all ranks.
  private(set) var divergence: Divergence?

  /// Steps that update a state with the lanes of this rank.
  package init(
    _ state: TrainingState, data: TrainingData, stop: StopRequest = StopRequest(),
    faults: FaultPlan = FaultPlan(), trace: RunTrace? = nil,
    logger: Logger = Logger(label: "milm")
  ) {
    self.state = state
    self.data = data
    self.stop = stop
    self.faults = faults
    self.trace = trace
    self.logger = logger
    stepGuard = StepGuard(settings: state.configuration.guarding)
    tuner = CodecTuner(state, logger: logger)
    timeouts = StepTimeouts(state.configuration.exchange) { logger.warning("\($0)") }
    buffers = StepBuffers(state)
  }

  /// The bytes of the gradient, the saved carried state and the tokens.
  package var byteCount: Int { buffers.arena.byteCount }

  /// Takes a step; if it is `flushing`, gradient and residuals are sent exactly.
  ///
  /// All ranks learn whether one of them `isFailing`, or cannot read the tokens of the next step.
  package func run(flushing: Bool = false, isFailing: Bool = false) throws -> StepReport {
    let start = ContinuousClock.now
    let step = state.counters.step
    let spans = trace?.begin(step: step)
    try faults.inject(.step, step: step)
    buffers.carriedState.copy(from: state.pass.carriedState)

    begin(flushing: flushing, isTraced: spans != nil)
    spans?.end("clear gradients")
    let sink = FaultySink(faults, step: step, after: exchangeSink)
    let loss = try forwardBackward(sink: spans.map { TracingSink($0, before: sink) } ?? sink)
    let computeSeconds = (ContinuousClock.now - start).inSeconds - exposedVocabularySeconds
    let exchange = try finishExchange()
    spans?.end("wait for gradient exchange", .wait)

    noteReadingFailure {
      try readAhead(from: state.counters.segmentIndex + state.configuration.training.accumulate)
    }
    let agreed = try agree(loss: loss, isFailing: isFailing || readingFailure != nil)
    spans?.end("all-reduce loss and gradient norm", .wait)
    switch judge(agreed) {
    case .accepted: update(agreed)
    case .rejected(let reason): skip(because: reason)
    }
    spans?.end("optimizer step")
    if let spans { trace?.end(spans, exchange.trace) }

    advance()
    if agreed.gradientNorm.isFinite {
      try tuner.consider(exchange, gradient: state.common(gradients), retunes: agreed.isRetuneRequested)
    }
    timeouts.note(stepSeconds: (ContinuousClock.now - start).inSeconds)
    divergence = stepGuard.divergence(state.counters)
    return StepReport(agreed, computeSeconds: computeSeconds, exchange: exchange)
  }
}

// MARK: - Tokens

extension Step {
  /// Reads the tokens of the next step, unless they have been read, so that a file that cannot be read is found out before the
  /// step begins.
  func readAhead() throws { try readAhead(from: state.counters.segmentIndex) }

  private func readAhead(from segment: Int) throws {
    try buffers.tokens.read(segment..<segment + state.configuration.training.accumulate, of: data)
  }

  private func noteReadingFailure(_ read: () throws -> Void) {
    do { try read() } catch { readingFailure = error }
  }
}

// MARK: - Gradient

extension Step {
  /// Begins a step, whose gradient the exchange replaces by the mean over all ranks.
  package func begin(flushing: Bool = false, isTraced: Bool = false) {
    beginWithoutExchange(isTraced: isTraced)
    state.beginExchange(of: gradients, flushing: flushing, limits: timeouts.limits, isTraced: isTraced)
  }

  /// Begins a step whose gradient stays on this rank.
  package func beginWithoutExchange(isTraced: Bool = false) {
    let limits = timeouts.limits
    gradients.clear(state.shard, engine: state.engine)
    state.beginStep(limits: limits, isTraced: isTraced)
    state.ranks.control.liveness?.activity.note(
      "step \(state.counters.step): forward and backward", warnSeconds: limits.warnSeconds)
  }

  /// Forward and backward through the segments of the step; `sink` receives the gradient as it is finished.
  ///
  /// Returns the sum of this rank's losses in nats. A rank without lanes contributes zeros, range after range in the same
  /// order.
  package func forwardBackward(sink: (any GradientSink)?) throws -> Double {
    let model = state.model
    guard !data.ownLanes.isEmpty else {
      for range in model.gradientRanges { try sink?.finish(range) }
      try sink?.finish(rows: gradients[model.tiedMatrix].rows(0..<0), of: buffers.tokens.ownInputs)
      return 0
    }
    try readAhead()
    let training = state.configuration.training
    let key = RandomKey(seed: UInt64(training.seed)).derived("dropout").derived(state.counters.step)
    let tokenCount = buffers.tokens.ownInputs.count * training.accumulate
    let lossScale = state.laneLayout.gradientWeight / Float(tokenCount)
    var loss = 0.0
    for index in 0..<training.accumulate {
      let segmentIndex = state.counters.segmentIndex + index
      if data.lanes.isEpochStart(segmentIndex) { state.pass.carriedState.reset() }
      let segment = buffers.tokens.segment(segmentIndex, firstTime: index * training.segment, key: key)
      state.placement.read(segmentIndex, of: buffers.tokens)
      loss += try state.pass.accumulate(
        segment, index: index, lossScale: lossScale, gradients: gradients, sink: sink)
    }
    return loss
  }

  /// The sink that submits the gradient to the exchange.
  package var exchangeSink: ExchangeSink { ExchangeSink(state, gradients) }

  /// Exposed communication time of forward and backward, for other ranks' rows of the vocabulary.
  package var exposedVocabularySeconds: Double { state.placement.exposedSeconds }

  /// Waits for the exchange and returns what it has cost.
  package func finishExchange() throws -> ExchangeReport {
    state.ranks.control.liveness?.activity.note("step \(state.counters.step): exchange and update")
    return try state.finishExchange(of: gradients)
  }
}

// MARK: - Update

extension Step {
  /// Sums up what every rank contributes, in one all-reduce.
  private func agree(loss: Double, isFailing: Bool) throws -> Agreement {
    let squares = state.optimizer.squares(of: gradients)
    let own = StepSums(
      loss: loss, learningRate: state.ranks.isCoordinator ? learningRate : 0,
      stopRequestCount: stop.isMade ? 1 : 0, failureCount: isFailing ? 1 : 0,
      retuneRequestCount: tuner.isRetuningRequested ? 1 : 0,
      // Every group has all shards.
      ownedSquares: state.layout.group(of: state.ranks.rank) == 0 ? squares.owned : 0)
    let sums = try own.summed(
      "loss of step \(state.counters.step)", over: state.ranks.control, limits: timeouts.limits)
    return Agreement(sums, commonSquares: squares.common)
  }

  private var learningRate: Double {
    let configuration = state.configuration
    let rate = configuration.schedule.learningRate(
      step: state.counters.step, stepCount: configuration.training.steps,
      peak: configuration.optimizer.learningRate, plateauScale: state.counters.plateau.rateScale)
    return rate * (state.counters.guardRecord?.rateScale ?? 1)
  }

  private func judge(_ agreed: Agreement) -> StepGuard.Verdict {
    let loss = agreed.loss / Double(state.configuration.tokensPerStep)
    var record = state.counters.guardRecord ?? .init()
    let verdict = stepGuard.judge(loss: loss, norm: agreed.gradientNorm, record)
    if verdict == .accepted {
      stepGuard.note(loss: loss, norm: agreed.gradientNorm, step: state.counters.step + 1, in: &record)
    }
    state.counters.guardRecord = record
    return verdict
  }

  private func update(_ agreed: Agreement) {
    state.commitExchange()
    // Adam's bias correction counts the updates that were made.
    let updateCount = state.counters.step + 1 - state.counters.skippedStepCount
    state.optimizer.update(
      state.parameters, gradient: gradients,
      gradientScale: state.optimizer.clippingScale(norm: agreed.gradientNorm),
      learningRate: agreed.learningRate, updateCount: updateCount)
    state.counters.consecutiveSkippedStepCount = 0
  }

  /// Restores the state before the step, except for the position in the data.
  private func skip(because reason: String) {
    state.rollbackExchange()
    let first = state.counters.segmentIndex
    let segments = first..<first + state.configuration.training.accumulate
    if segments.contains(where: data.lanes.isEpochStart) {
      // The next segment belongs to the new epoch, the saved state to the old one.
      state.pass.carriedState.reset()
    } else {
      state.pass.carriedState.copy(from: buffers.carriedState)
    }
    state.counters.skippedStepCount += 1
    state.counters.consecutiveSkippedStepCount += 1
    guard state.ranks.isCoordinator else { return }
    logger.warning(
      "a step was skipped", metadata: ["step": "\(state.counters.step)", "reason": "\(reason)"])
  }

  /// Counts the step.
  package func advance() {
    state.counters.step += 1
    state.counters.segmentIndex += state.configuration.training.accumulate
    state.counters.tokenCount += state.configuration.tokensPerStep
  }
}

/// The numbers of a step that all ranks sum up.
private struct StepSums {
  /// Nats, over this rank's lanes.
  var loss: Double
  /// Zero on all ranks but 0: the last digits of a cosine differ between CPUs.
  var learningRate: Double
  var stopRequestCount: Double
  /// Ranks that cannot take the next step.
  var failureCount: Double
  var retuneRequestCount: Double
  /// Squares of the elements of the gradient that only one rank of a group has.
  var ownedSquares: Double

  private static let fields: [WritableKeyPath<StepSums, Double> & Sendable] = [
    \.loss, \.learningRate, \.stopRequestCount, \.failureCount, \.retuneRequestCount, \.ownedSquares,
  ]

  func summed(_ name: String, over control: any Communicator, limits: StallLimits) throws -> StepSums {
    let values = try control.sum(name, Self.fields.map { self[keyPath: $0] }, limits: limits)
    var sums = self
    for (field, value) in zip(Self.fields, values) { sums[keyPath: field] = value }
    return sums
  }
}

/// The result of the all-reduce of a step, equal on all ranks.
struct Agreement {
  /// The sum of the losses in nats over all lanes of all ranks.
  let loss: Double
  /// The norm of the mean gradient before clipping.
  let gradientNorm: Double
  /// Rank 0's.
  let learningRate: Double
  /// Whether any rank has received a stop request.
  let isStopRequested: Bool
  /// Whether any rank cannot take the next step.
  let isFailing: Bool
  /// Whether rank 0 asks to choose the codec again.
  let isRetuneRequested: Bool

  fileprivate init(_ sums: StepSums, commonSquares: Double) {
    loss = sums.loss
    gradientNorm = (commonSquares + sums.ownedSquares).squareRoot()
    learningRate = sums.learningRate
    isStopRequested = sums.stopRequestCount > 0
    isFailing = sums.failureCount > 0
    isRetuneRequested = sums.retuneRequestCount > 0
  }
}

/// Results of a step; the same on all ranks except for the times.
package struct StepReport {
  let agreed: Agreement
  /// Forward and backward, on this rank.
  package let computeSeconds: Double
  /// The exchange, on this rank.
  package let exchange: ExchangeReport

  /// The sum of the losses in nats over all lanes of all ranks.
  package var loss: Double { agreed.loss }

  fileprivate init(_ agreed: Agreement, computeSeconds: Double, exchange: ExchangeReport) {
    self.agreed = agreed
    self.computeSeconds = computeSeconds
    self.exchange = exchange
  }
}

/// The timeouts within a step: those of the configuration, but never shorter than steps take.
struct StepTimeouts {
  /// A step that takes this many times as long as the longest one so far has stalled.
  private static let factor = 5.0
  /// The timeout of the first step, before a duration is known.
  private static let firstStepSeconds = 600.0

  private let settings: ExchangeSettings
  private let warn: @Sendable (String) -> Void
  private var longestSeconds: Double?

  /// The timeouts of a run; `warn` receives the line that names a stalled rank.
  init(_ settings: ExchangeSettings, warn: @escaping @Sendable (String) -> Void) {
    self.settings = settings
    self.warn = warn
  }

  /// Records the duration of a step.
  mutating func note(stepSeconds: Double) {
    longestSeconds = max(longestSeconds ?? 0, stepSeconds)
  }

  /// The timeouts of the next step.
  var limits: StallLimits {
    let expected = longestSeconds.map { $0 * Self.factor } ?? Self.firstStepSeconds
    return StallLimits(
      warnSeconds: max(settings.stallWarnSeconds, longestSeconds ?? 0),
      abortSeconds: max(settings.stallAbortSeconds, expected), warn: warn)
  }
}

/// Submits the gradient to the exchange as it is finished, and rows of looked-up tokens to where the rows live.
package final class ExchangeSink: GradientSink {
  private let state: TrainingState
  private let gradients: ParameterBuffer

  fileprivate init(_ state: TrainingState, _ gradients: ParameterBuffer) {
    self.state = state
    self.gradients = gradients
  }

  package func finish(_ range: GradientRange) throws {
    let common = state.shard.common
    guard common.contains(range.range.lowerBound) else { return }
    try state.exchange.submit(
      range: range.range.lowerBound - common.lowerBound..<range.range.upperBound - common.lowerBound)
  }

  package func finish(rows: Matrix, of tokens: Vector<Int32>) throws {
    try state.placement.finish(rows: rows, of: tokens, into: gradients)
  }
}
