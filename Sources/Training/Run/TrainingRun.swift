import Checkpoints
import Communication
import Corpus
import Evaluation
import Foundation
import Layers
import Logging
import Platform
import Reporting
import Tensors

/// Sets a run up on all ranks, from the beginning or from a checkpoint, and trains it.
package struct TrainingRun: Sendable {
  private let request: TrainingRequest
  private let configuration: RunConfiguration
  private let ranks: Ranks
  private let logger: Logger
  private let output: TerminalOutput
  private let stop: StopRequest
  private let faults: FaultPlan
  private let vocabularyDecision: (any VocabularyDecision)?

  /// A run of a configuration, which is the same on all ranks.
  ///
  /// Once a stop is requested on any rank, all ranks stop after the same step, with a checkpoint.
  /// `vocabularyDecision` is asked for `exchange.vocabulary: auto`; nil: the vocabulary is replicated.
  package init(
    _ request: TrainingRequest, configuration: RunConfiguration, ranks: Ranks, logger: Logger,
    output: TerminalOutput = .standardError, stop: StopRequest = StopRequest(),
    faults: FaultPlan = FaultPlan(), vocabularyDecision: (any VocabularyDecision)? = nil
  ) {
    self.request = request
    self.configuration = configuration
    self.ranks = ranks.corrupted(by: faults.faults(of: ranks.rank))
    self.stop = stop
    self.faults = faults.faults(of: ranks.rank)
    self.logger = logger
    self.output = output
    self.vocabularyDecision = vocabularyDecision
  }

  /// The result of a dry run: the state that training would begin with.
  package struct Rehearsal: Sendable, Equatable {
    /// Parameters of the model.
    package let parameters: Int
    /// The step that it would continue from; 0 for a new run.
    package let step: Int
  }

  /// Checks everything that training needs, the checkpoint to continue from included, and logs what would run, without
  /// writing anything; all ranks call it.
  package func rehearse() throws -> Rehearsal {
    let (corpus, data) = try openCorpus()
    let checkpoint =
      try ranks.onCoordinator("check the run") {
        try RunStorage.rehearse(request, configuration: configuration, corpus: corpus, logger: logger)
      } ?? nil
    let isResumed = try ranks.broadcast(checkpoint != nil)
    let state = try makeState(corpus, resuming: checkpoint)
    _ = try begin(state, resuming: isResumed, from: checkpoint, corpus)
    describe(state, data)
    return Rehearsal(parameters: state.model.parameters.parameterCount, step: state.counters.step)
  }

  /// Trains; all ranks call it and get the same outcome, except for the count of failed writes.
  package func train() throws -> Trainer.Outcome {
    applyStallTimeouts()
    let (corpus, data) = try openCorpus()
    var storage = try ranks.onCoordinator("open the run") {
      try RunStorage(request, configuration: configuration, corpus: corpus, faults: faults, logger: logger)
    }
    var hasBegun = false
    defer { if !hasBegun { storage?.cleanUpFailedStart() } }
    let isResumed = try ranks.broadcast(storage?.checkpoint != nil)
    let isOwn = try ranks.broadcast(storage?.isOwn ?? false)
    let state = try makeState(corpus, resuming: storage?.checkpoint)
    let isInitialized = try begin(state, resuming: isResumed, from: storage?.checkpoint, corpus)
    describe(state, data)
    // Rank 0 decides: the corpus of another host may lack the split.
    let evaluates = try ranks.broadcast(
      corpus.contains(.valid) && configuration.coordinator.evaluateEvery > 0)
    if isResumed, let outcome = alreadyFinished(state, evaluates: evaluates) {
      hasBegun = true
      return outcome
    }
    let step = state.counters.step
    if !evaluates, let pending = state.counters.pendingEvaluation, pending.perplexity == nil {
      state.counters.pendingEvaluation = nil
    }
    // Weights of another run are written as the checkpoint of step 0, so that the run can be resumed without them.
    var origin =
      !isResumed && !isInitialized ? Boundary.Origin.fresh : isOwn ? .resumed(step) : .adopted(step)
    var beginning = isResumed ? RunSession.Beginning.resumed : .begun
    ranks.control.liveness?.endStartTimeout()
    let trace =
      request.traces
      ? try RunTrace(ranks, directory: RunDirectory(path: request.output).tracePath, logger: logger) : nil
    while true {
      try recordSession(beginning, state, storage)
      let boundary = Boundary(configuration, origin: origin, evaluates: evaluates)
      let trainer = try makeTrainer(
        state, data: data, boundary: boundary, storage: storage, validation: evaluates ? corpus : nil,
        trace: trace)
      hasBegun = true
      let ending = Result { try trainer.run(until: lastStep) }
      let isPageWritten = writePage(storage)
      recordEnd(ending, state, storage)
      switch try ending.get() {
      case .finished(var outcome):
        if !isPageWritten { outcome.failedWriteCount += 1 }
        return outcome
      case .diverged(let divergence):
        storage = try returnToGoodCheckpoint(state, storage, divergence, evaluates: evaluates)
        origin = .adopted(state.counters.step)
        beginning = .returned
      }
    }
  }

  private var lastStep: Int { min(request.lastStep ?? .max, configuration.training.steps) }

  /// The state before the first step; `checkpoint` is what the run resumes from, which rank 0 alone has.
  private func makeState(_ corpus: Corpus, resuming checkpoint: Checkpoint? = nil) throws -> TrainingState {
    let groupSize = try vocabularyGroupSize(corpus, resuming: checkpoint)
    try checkMemory(corpus, vocabularyGroupSize: groupSize)
    return try TrainingState(
      configuration, text: TextIdentity(corpus), ranks: ranks,
      engine: configuration.training.engine(ranks), thread: try CommunicationThread(),
      vocabularyGroupSize: groupSize)
  }

  /// The number of ranks per group where the configuration leaves it open: that of the checkpoint, for a new run rank 0's
  /// decision.
  private func vocabularyGroupSize(_ corpus: Corpus, resuming checkpoint: Checkpoint?) throws -> Int? {
    let saved = try ranks.onAllRanks("read the checkpoint's placement of the vocabulary") {
      try checkpoint.map { try VocabularyLayout(saved: $0.state).groupSize }
    }
    let frozen = try ranks.control.maximum("size of the vocabulary's groups", UInt64(saved ?? 0))
    if frozen > 0 { return Int(frozen) }
    let rankCount = try trainingRankCount
    guard configuration.exchange.vocabulary == .auto, rankCount > 1, let vocabularyDecision else {
      return nil
    }
    let choice = try vocabularyDecision.decide(
      configuration, corpus: request.corpus, vocabularySize: corpus.vocabulary.count, ranks: ranks)
    let groupSize = Int(
      try ranks.control.maximum(
        "rank 0's size of the vocabulary's groups", ranks.isCoordinator ? UInt64(choice.groupSize) : 0))
    guard groupSize > 0, rankCount.isMultiple(of: groupSize) else {
      throw MilmError(
        "size of the vocabulary's groups: expected a divisor of the \(rankCount) training ranks, "
          + "found \(groupSize)")
    }
    if ranks.isCoordinator {
      let placement =
        groupSize == 1 ? "replicated" : "sharded in groups of \(groupSize) of \(rankCount) ranks"
      logger.info("vocabulary \(placement) (\(choice.reason))")
    }
    return groupSize
  }

  private var trainingRankCount: Int {
    get throws { try LaneLayout(configuration, rankCount: ranks.rankCount).trainingRankCount }
  }

  /// Throws on all ranks where a host has too little memory.
  private func checkMemory(_ corpus: Corpus, vocabularyGroupSize: Int?) throws {
    let engine = try configuration.training.engine(ranks)
    let available = try ranks.control.hostShare().memory
    try ranks.onAllRanks("check the memory") {
      try MemoryNeed(
        configuration, vocabularySize: corpus.vocabulary.count, ranks: ranks, engine: engine,
        vocabularyGroupSize: vocabularyGroupSize
      ).check(available)
    }
  }

  /// `validation` is the corpus whose validation split is evaluated; nil: none is.
  private func makeTrainer(
    _ state: TrainingState, data: TrainingData, boundary: Boundary, storage: RunStorage?,
    validation: Corpus?, trace: RunTrace?
  ) throws -> Trainer {
    let coordinator = try storage.map { storage in
      let validation = try validation.map {
        try Validation(
          $0, model: state.model, streamCount: configuration.coordinator.evaluateStreams,
          threadCount: state.engine.threadCount)
      }
      return try Coordinator(
        configuration: configuration, storage: storage, validation: validation, stop: stop, logger: logger)
    }
    let reporter = storage.map { storage in
      RunReporter(
        record: storage.record,
        progress: TrainingProgress(
          stepCount: lastStep, firstStep: state.counters.step,
          evaluateEvery: validation == nil ? 0 : configuration.coordinator.evaluateEvery, output: output),
        logger: logger, codec: { state.codec.rawValue },
        work: { coordinator?.work ?? BackgroundWork() },
        closingSeconds: { coordinator?.closingSeconds },
        evaluationSeconds: { coordinator?.evaluationSeconds(tokensPerSecond: $0 / Double(ranks.rankCount)) },
        configuration: configuration,
        segmentsPerEpoch: data.lanes.segmentsPerEpoch)
    }
    return Trainer(
      state,
      step: Step(state, data: data, stop: stop, faults: faults, trace: trace, logger: logger),
      boundary: try BoundaryWork(boundary, state, coordinator: coordinator, faults: faults),
      reporter: reporter, faults: faults, trace: trace)
  }

  /// The outcome of a run that an earlier process has finished and evaluated.
  private func alreadyFinished(_ state: TrainingState, evaluates: Bool) -> Trainer.Outcome? {
    let counters = state.counters
    guard counters.isOver(configuration, lastStep: nil) else { return nil }
    if ranks.isCoordinator { logger.info("the run is finished", metadata: ["step": "\(counters.step)"]) }
    let boundary = Boundary(configuration, origin: .resumed(counters.step), evaluates: evaluates)
    guard !evaluates || boundary.closing(at: counters, isInterrupted: false) == .init(isOver: true) else {
      if ranks.isCoordinator {
        logger.info("its last step has not been evaluated", metadata: ["step": "\(counters.step)"])
      }
      return nil
    }
    return Trainer.Outcome(counters, isFinished: true)
  }
}

// MARK: - Preparation

extension TrainingRun {
  /// Until the first step a rank may wait for a disk for as long as it sends heartbeats.
  private func applyStallTimeouts() {
    let settings = configuration.exchange
    let limits = StallLimits(
      warnSeconds: settings.stallWarnSeconds, abortSeconds: settings.stallAbortSeconds
    ) { [logger] in logger.warning("\($0)") }
    ranks.control.liveness?.setHeartbeatLimits(limits)
    ranks.control.liveness?.activity.note("preparing")
  }

  /// The corpus and this rank's lanes; throws where the hosts' corpora differ.
  private func openCorpus() throws -> (Corpus, TrainingData) {
    _ = try ranks.onCoordinator("check the output directory") {
      try DirectoryKind.run.requireOutput(request.output)
    }
    let (corpus, tokens, data) = try ranks.onAllRanks("open the corpus") {
      try faults.inject(.start, step: 0)
      let corpus = try Corpus(
        opening: URL(filePath: request.corpus), verification: ranks.isFirstOnHost ? .full : .headerOnly)
      let tokens = try corpus.tokens(.train)
      let data = try TrainingData(
        tokens, endOfSentenceID: corpus.vocabulary.endOfSentenceID, configuration: configuration, ranks: ranks
      )
      return (corpus, tokens, data)
    }
    try ranks.requireSame("the program's version", programVersion)
    try ranks.requireSame("the vocabulary's hash", corpus.vocabulary.hash)
    try ranks.requireSame("the training tokens' checksum", tokens.checksum)
    try ranks.onCoordinator("check the validation split") { try checkStreams(corpus) }
    // Before anything is written; a placement that is still to be decided needs at least what the smallest shards need.
    try checkMemory(corpus, vocabularyGroupSize: vocabularyDecision == nil ? nil : trainingRankCount)
    return (corpus, data)
  }

  private func checkStreams(_ corpus: Corpus) throws {
    guard configuration.coordinator.evaluateEvery > 0, corpus.contains(.valid) else { return }
    let tokenCount = try corpus.tokens(.valid).count
    guard configuration.coordinator.evaluateStreams <= tokenCount else {
      throw MilmError(
        "coordinator.evaluateStreams: expected at most the \(tokenCount) tokens of the valid split, "
          + "found \(configuration.coordinator.evaluateStreams)")
    }
  }

  /// Sets the state to that of the checkpoint to resume from, or to the weights that a new run starts from; returns whether
  /// there are such.
  private func begin(
    _ state: TrainingState, resuming isResumed: Bool, from checkpoint: Checkpoint?, _ corpus: Corpus
  ) throws -> Bool {
    guard !isResumed else {
      try resume(state, checkpoint)
      if request.initialWeights != nil, ranks.isCoordinator {
        logger.info("the run continues; --init applies to a new run alone")
      }
      return false
    }
    guard let path = request.initialWeights else { return false }
    let weights = try ranks.onCoordinator("open the initial weights") {
      try InitialWeights(path, for: corpus.vocabulary)
    }
    try state.begin(from: weights)
    if ranks.isCoordinator, let record = state.counters.initialWeights { describe(record, state) }
    return true
  }

  /// Logs what was taken from the weights of another run.
  private func describe(_ record: CheckpointState.InitialWeights, _ state: TrainingState) {
    let tensorCount = state.model.parameters.parameters.count
    logger.info(
      "started from weights",
      metadata: [
        "path": "\(record.path)", "sha256": "\(record.sha256)",
        "tensors": "\(tensorCount - record.newTensors.count) of \(tensorCount)",
      ])
    if !record.newTensors.isEmpty {
      logger.info("tensors that the file lacks, initialized: \(record.newTensors.joined(separator: ", "))")
    }
    if let common = record.commonTokens {
      let count = state.model.vocabularySize
      logger.info(
        "the vocabulary differs: \(common) of \(count) tokens keep their rows, \(count - common) are new")
    }
  }

  private func resume(_ state: TrainingState, _ checkpoint: Checkpoint?) throws {
    let current = state.counters
    try state.restore(from: checkpoint)
    guard let checkpoint else { return }
    logger.info(
      "continuing", metadata: ["checkpoint": "\(checkpoint.path)", "step": "\(state.counters.step)"])
    let earlier = try RunConfiguration(checkpoint)
    for change in configuration.changesOnResume(from: earlier) { logger.info("changed on resume: \(change)") }
    if let jump = RateJump(from: earlier, to: configuration, atStep: state.counters.step) {
      logger.warning("\(jump)")
    }
    let differences = current.differencesInBits(from: checkpoint.state)
    if !differences.isEmpty {
      logger.warning("continues, not bit-equal: \(differences.joined(separator: ", "))")
    }
    if try state.placement.residuals.areDiscarded(of: checkpoint) {
      logger.warning(
        "residuals of the vocabulary's shards are discarded: the ranks are one group, which exchanges no shards"
      )
    }
  }

  /// Restores all ranks to the last good checkpoint, and lowers the learning rate.
  private func returnToGoodCheckpoint(
    _ state: TrainingState, _ storage: RunStorage?, _ divergence: Divergence, evaluates: Bool
  ) throws -> RunStorage? {
    let settings = configuration.guarding
    var record = state.counters.guardRecord ?? .init()
    let rewound = try ranks.onCoordinator("restore the last good checkpoint") {
      let good = try storage?.lastGoodCheckpoint(
        through: divergence.lastGoodStep,
        isScheduled: { $0.isScheduled(configuration, evaluates: evaluates) }, logger: logger)
      guard record.returnCount < settings.returns, let good else {
        throw MilmError(
          "\(divergence.reason), after \(record.returnCount) returns; the last good checkpoint is "
            + (good?.path ?? "none"))
      }
      return try storage?.returned(to: good)
    }
    try state.restore(from: rewound??.checkpoint)
    record.returnCount += 1
    record.rateScale *= settings.rateFactor
    record.losses = []
    record.norms = []
    record.lowestLoss = state.counters.guardRecord?.lowestLoss
    record.lowestLossStep = state.counters.guardRecord?.lowestLossStep
    state.counters.guardRecord = record
    if ranks.isCoordinator {
      logger.warning(
        "the run has diverged and returns to a checkpoint, with a reduced learning rate",
        metadata: [
          "reason": "\(divergence.reason)", "step": "\(state.counters.step)",
          "rateScale": "\(record.rateScale)", "returns": "\(record.returnCount) of \(settings.returns)",
        ])
    }
    return rewound ?? nil
  }
}

// MARK: - Records

extension TrainingRun {
  /// Records that this process starts to train, and where in the run.
  private func recordSession(
    _ beginning: RunSession.Beginning, _ state: TrainingState, _ storage: RunStorage?
  ) throws {
    _ = try ranks.onCoordinator("record the session") {
      try storage?.record.begin(
        RunSession(
          beginning, step: state.counters.step, tokens: state.counters.tokenCount, lastStep: lastStep,
          version: programVersion, ranks: ranks.rankCount, hosts: ranks.hostCount,
          engine: state.engine.summary,
          model: "\(configuration.model.variant.rawValue), form \(configuration.model.form.rawValue)",
          parameters: state.model.parameters.parameterCount, vocabulary: state.model.vocabularySize,
          validation: state.counters.tokenChecksums?[Split.valid.rawValue],
          initialWeights: state.counters.initialWeights?.path,
          initialWeightsSHA256: state.counters.initialWeights?.sha256))
    }
  }

  /// Records how this process has ended, as far as the disk allows; a run that has diverged goes on or fails.
  private func recordEnd(
    _ ending: Result<Trainer.EndReason, any Error>, _ state: TrainingState, _ storage: RunStorage?
  ) {
    let how: RunEnd.Ending? =
      switch ending {
      case .failure: .failed
      case .success(.diverged): nil
      case .success(.finished(let outcome)):
        outcome.isFinished
          ? .finished : outcome.isInterrupted || outcome.hasGivenUpWriting ? .interrupted : .stopped
      }
    if let how { try? storage?.record.end(RunEnd(how, step: state.counters.step)) }
  }

  /// Writes the final page of the run; false, and logged, where that fails.
  private func writePage(_ storage: RunStorage?) -> Bool {
    do {
      try storage?.record.finish()
      return true
    } catch {
      logger.error("the report of the run was not written", metadata: ["reason": "\(error)"])
      return false
    }
  }

  /// Logs what runs where, on rank 0.
  private func describe(_ state: TrainingState, _ data: TrainingData) {
    guard ranks.isCoordinator else { return }
    let lanes = data.lanes
    logger.info(
      "model",
      metadata: [
        "variant": "\(configuration.model.variant.rawValue)", "form": "\(configuration.model.form.rawValue)",
        "vocabulary": "\(state.model.vocabularySize)",
        "parameters": "\(state.model.parameters.parameterCount)",
      ])
    logger.info(
      "compute",
      metadata: [
        "ranks": "\(ranks.rankCount)", "hosts": "\(ranks.hostCount)",
        "engine": "\(state.engine.summary)",
        "codec":
          "\(state.codec.rawValue) (\(state.counters.codecDecisions.last?.reason ?? "auto: to be measured"))",
      ])
    if let note = state.engine.precisionNote {
      logger.notice("matrix products do not use the requested precision", metadata: ["reason": "\(note)"])
    }
    logger.info(
      "data",
      metadata: [
        "tokens": "\(lanes.tokenCount)", "lanes": "\(lanes.laneCount)", "laneLength": "\(lanes.laneLength)",
        "stepsPerEpoch": "\(lanes.segmentsPerEpoch / max(1, configuration.training.accumulate))",
        "droppedTokens": "\(lanes.droppedTokenCount + lanes.droppedTailTokenCount)",
      ])
  }
}

extension TrainingConfiguration {
  /// The engine of this rank; all ranks call it.
  package func engine(_ ranks: Ranks) throws -> ComputeEngine {
    let threadCount = try ranks.control.hostShare().threadCount
    return try ComputeEngine(threadCount: threads ?? threadCount, precision: precision)
  }
}
