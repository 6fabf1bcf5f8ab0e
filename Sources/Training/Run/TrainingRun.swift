import Checkpoints
import Communication
import Corpus
import Foundation
import LanguageModel
import Layers
import Logging
import Reporting
import Tensors

/// Sets a run up on all ranks, from nothing or from a checkpoint, and trains it.
public struct TrainingRun: Sendable {
  private let request: TrainingRequest
  private let configuration: RunConfiguration
  private let ranks: Ranks
  private let logger: Logger
  private let output: TerminalOutput
  private let stop: StopRequest
  private let faults: FaultPlan

  /// A run of a configuration that all ranks share.
  ///
  /// Once `stop` is made on any rank, all ranks stop after the same step, with a checkpoint.
  public init(
    _ request: TrainingRequest, configuration: RunConfiguration, ranks: Ranks, logger: Logger,
    output: TerminalOutput = .standardError, stop: StopRequest = StopRequest(),
    faults: FaultPlan = FaultPlan()
  ) {
    self.request = request
    self.configuration = configuration
    self.ranks = ranks.garbled(by: faults.own(rank: ranks.rank))
    self.stop = stop
    self.faults = faults.own(rank: ranks.rank)
    self.logger = logger
    self.output = output
  }

  /// Checks everything that training needs and says what would run, without writing
  /// anything; all ranks call it.
  ///
  /// Returns how many numbers the model has.
  public func rehearse() throws -> Int {
    let (corpus, data) = try openCorpus()
    let replica = try Replica(
      configuration, text: TextIdentity(corpus), ranks: ranks, engine: try makeEngine(),
      thread: CommunicationThread())
    describe(replica, data)
    return replica.model.parameters.parameterCount
  }

  /// Trains; all ranks call it and get the same outcome, but for the count of failed writes.
  public func train() throws -> Trainer.Outcome {
    limitSilence()
    let engine = try makeEngine()
    let (corpus, data) = try openCorpus()
    var storage = try ranks.onCoordinator("open the run") {
      try RunStorage(request, configuration: configuration, corpus: corpus, faults: faults, logger: logger)
    }
    let isResumed = try ranks.share(storage?.checkpoint != nil)
    let isOwn = try ranks.share(storage?.isOwn ?? false)
    let replica = try Replica(
      configuration, text: TextIdentity(corpus), ranks: ranks, engine: engine, thread: CommunicationThread())
    if isResumed { try resume(replica, storage?.checkpoint) }
    describe(replica, data)
    if let outcome = alreadyFinished(replica, isResumed: isResumed) { return outcome }

    // Rank 0's corpus decides: another host's may lack the split.
    let evaluates = try ranks.share(corpus.contains(.valid) && configuration.coordinator.evaluateEvery > 0)
    var origin =
      !isResumed
      ? Boundary.Origin.fresh
      : isOwn ? .resumed(replica.state.step) : .adopted(replica.state.step)
    ranks.control.liveness?.liftStartLimit()
    let trace =
      request.traces
      ? try RunTrace(ranks, folder: RunDirectory(path: request.output).tracePath, logger: logger) : nil
    var beginning = isResumed ? RunSession.Beginning.resumed : .begun
    while true {
      try note(beginning, replica, storage)
      let trainer = try makeTrainer(
        replica, data: data, corpus: corpus, storage: storage, evaluates: evaluates, origin: origin,
        trace: trace)
      let ending = Result { try trainer.run(until: lastStep) }
      let isPageWritten = drawPage(storage)
      switch try ending.get() {
      case .finished(var outcome):
        if !isPageWritten { outcome.failedWriteCount += 1 }
        return outcome
      case .diverged(let divergence):
        storage = try goBack(replica, storage, divergence)
        origin = .adopted(replica.state.step)
        beginning = .returned
      }
    }
  }

  /// Writes down that this process begins to train, and where in the run.
  private func note(
    _ beginning: RunSession.Beginning, _ replica: Replica, _ storage: RunStorage?
  ) throws {
    _ = try ranks.onCoordinator("write down what trains") {
      try storage?.record.begin(
        RunSession(
          beginning, step: replica.state.step, tokens: replica.state.tokenCount, lastStep: lastStep,
          version: programVersion, ranks: ranks.rankCount, hosts: Set(ranks.control.hostNames).count,
          engine: replica.engine.summary,
          model: "\(configuration.model.variant.rawValue), form \(configuration.model.form.rawValue)",
          parameters: replica.model.parameters.parameterCount, vocabulary: replica.model.vocabularySize))
    }
  }

  /// Draws the page as it stays; false, and said, where it cannot be written.
  private func drawPage(_ storage: RunStorage?) -> Bool {
    do {
      try storage?.record.finish()
      return true
    } catch {
      logger.error("the page of the run is not written", metadata: ["reason": "\(error)"])
      return false
    }
  }

  private func makeTrainer(
    _ replica: Replica, data: TrainingData, corpus: Corpus, storage: RunStorage?, evaluates: Bool,
    origin: Boundary.Origin, trace: RunTrace?
  ) throws -> Trainer {
    let coordinator = try storage.map {
      try makeCoordinator($0, corpus: corpus, replica: replica, evaluates: evaluates)
    }
    let reporter = storage.map { storage in
      RunReporter(
        record: storage.record,
        progress: TrainingProgress(
          stepCount: lastStep, firstStep: replica.state.step, output: output),
        logger: logger, codec: { replica.codec.rawValue },
        work: { coordinator?.work ?? BackgroundWork() }, tokensPerStep: configuration.tokensPerStep,
        reportEvery: configuration.coordinator.reportEvery)
    }
    let boundary = Boundary(configuration, origin: origin, evaluates: evaluates)
    let work = BoundaryWork(boundary, replica, coordinator: coordinator, faults: faults)
    return Trainer(
      replica, data: data, work: work, reporter: reporter, stop: stop, faults: faults,
      logger: logger, trace: trace)
  }

  /// Brings all ranks back to the last good checkpoint, to go on from there with a smaller rate.
  private func goBack(
    _ replica: Replica, _ storage: RunStorage?, _ divergence: Divergence
  ) throws -> RunStorage? {
    let settings = configuration.guarding
    var record = replica.state.guardRecord ?? .init()
    let returned = try ranks.onCoordinator("go back to the last good checkpoint") {
      let good = try storage?.lastGoodCheckpoint(through: divergence.lastGoodStep, logger: logger)
      guard record.returnCount < settings.returns, let good else {
        throw TrainingError(
          "\(divergence.reason), after going back \(record.returnCount) times; the last good checkpoint is "
            + (good?.path ?? "none"))
      }
      return try storage?.returned(to: good)
    }
    try replica.restore(from: returned??.checkpoint)
    record.returnCount += 1
    record.rateScale *= settings.rateFactor
    record.losses = []
    record.norms = []
    record.lowestLoss = replica.state.guardRecord?.lowestLoss
    record.lowestLossStep = replica.state.guardRecord?.lowestLossStep
    replica.state.guardRecord = record
    if ranks.isCoordinator {
      logger.warning(
        "the run has diverged and goes back, with a smaller rate",
        metadata: [
          "reason": "\(divergence.reason)", "step": "\(replica.state.step)",
          "rateScale": "\(record.rateScale)", "returns": "\(record.returnCount) of \(settings.returns)",
        ])
    }
    return returned ?? nil
  }

  /// Once training has begun, a rank may make others wait for a disk as long as it gives signs of life.
  private func limitSilence() {
    let settings = configuration.exchange
    let limits = StallLimits(
      warnSeconds: settings.stallWarnSeconds, abortSeconds: settings.stallAbortSeconds
    ) { [logger] in logger.warning("\($0)") }
    ranks.control.liveness?.limitSilence(limits)
    ranks.control.liveness?.activity.note("preparing")
  }

  private var lastStep: Int { min(request.lastStep ?? .max, configuration.training.steps) }

  private func makeEngine() throws -> ComputeEngine { try configuration.training.engine(ranks) }
}

extension TrainingConfiguration {
  /// The engine of this rank; all ranks call it.
  func engine(_ ranks: Ranks) throws -> ComputeEngine {
    let share = try ranks.threadCountOfAShare()
    return ComputeEngine(threadCount: threads ?? share, precision: precision)
  }
}

extension TrainingRun {
  /// The corpus and this rank's lanes; that all hosts have the same is checked before anything is computed.
  private func openCorpus() throws -> (Corpus, TrainingData) {
    let (corpus, tokens, data) = try ranks.together("open the corpus") {
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
    try ranks.together("check the memory") {
      try MemoryNeed(configuration, vocabularySize: corpus.vocabulary.count, ranks: ranks).check()
    }
    return (corpus, data)
  }

  private func checkStreams(_ corpus: Corpus) throws {
    guard configuration.coordinator.evaluateEvery > 0, corpus.contains(.valid) else { return }
    let tokenCount = try corpus.tokens(.valid).count
    guard configuration.coordinator.evaluateStreams <= tokenCount else {
      throw TrainingError(
        "coordinator.evaluateStreams: expected at most the \(tokenCount) tokens of the valid split, "
          + "found \(configuration.coordinator.evaluateStreams)")
    }
  }

  private func resume(_ replica: Replica, _ checkpoint: Checkpoint?) throws {
    let current = replica.state
    try replica.restore(from: checkpoint)
    guard let checkpoint else { return }
    logger.info(
      "continuing", metadata: ["checkpoint": "\(checkpoint.path)", "step": "\(replica.state.step)"])
    let differences = current.differencesInBits(from: checkpoint.state)
    if !differences.isEmpty {
      logger.warning("continues, not bit-equal: \(differences.joined(separator: ", "))")
    }
  }

  /// The outcome of a run whose last step was taken by an earlier process.
  private func alreadyFinished(_ replica: Replica, isResumed: Bool) -> Trainer.Outcome? {
    let state = replica.state
    let isFinished =
      state.step >= configuration.training.steps
      || state.hasRunOutOfPatience(configuration.coordinator.patience)
    guard isResumed && isFinished else { return nil }
    if ranks.isCoordinator { logger.info("the run is finished", metadata: ["step": "\(state.step)"]) }
    return Trainer.Outcome(
      step: state.step, isFinished: true, isInterrupted: false, bestPerplexity: state.bestPerplexity,
      bestStep: state.bestStep, failedWriteCount: 0)
  }

  private func makeCoordinator(
    _ storage: RunStorage, corpus: Corpus, replica: Replica, evaluates: Bool
  ) throws -> Coordinator {
    let validation =
      try evaluates
      ? Validation(
        corpus, model: replica.model, streamCount: configuration.coordinator.evaluateStreams,
        threadCount: replica.engine.threadCount) : nil
    return Coordinator(
      configuration: configuration, storage: storage, validation: validation, logger: logger)
  }

  /// Says what runs where, once, on rank 0.
  private func describe(_ replica: Replica, _ data: TrainingData) {
    guard ranks.isCoordinator else { return }
    let lanes = data.lanes
    logger.info(
      "model",
      metadata: [
        "variant": "\(configuration.model.variant.rawValue)", "form": "\(configuration.model.form.rawValue)",
        "vocabulary": "\(replica.model.vocabularySize)",
        "parameters": "\(replica.model.parameters.parameterCount)",
      ])
    logger.info(
      "compute",
      metadata: [
        "ranks": "\(ranks.rankCount)", "hosts": "\(Set(ranks.control.hostNames).count)",
        "engine": "\(replica.engine.summary)",
        "codec":
          "\(replica.codec.rawValue) (\(replica.state.codecDecisions.last?.reason ?? "auto: to be measured"))",
      ])
    if let note = replica.engine.precisionNote {
      logger.notice("products are not of the precision asked for", metadata: ["reason": "\(note)"])
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
