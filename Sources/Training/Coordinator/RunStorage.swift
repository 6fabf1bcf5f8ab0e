import Checkpoints
import Corpus
import Foundation
import Logging
import Platform
import Reporting

/// The files of a run, on rank 0: the locked directory, its metrics, and the checkpoint to start from.
struct RunStorage {
  let store: CheckpointStore
  let record: RunRecord
  /// The checkpoint that the process starts from; nil at the beginning of the run.
  let checkpoint: Checkpoint?
  /// Whether it is a checkpoint of this run, not of another run that this one continues.
  let isOwn: Bool
  private let description: Description
  private let footprint: RunFootprint

  /// The files that say what is trained.
  private struct Description {
    let configuration: String
    let vocabulary: Vocabulary

    func write(to run: RunDirectory) throws {
      try run.writeConfiguration(configuration)
      try vocabulary.write(to: URL(filePath: run.vocabularyPath))
    }
  }

  /// Locks the run directory, finds the checkpoint to start from, and rewinds the directory to its step.
  init(
    _ request: TrainingRequest, configuration: RunConfiguration, corpus: Corpus, faults: FaultPlan,
    logger: Logger
  ) throws {
    let run = RunDirectory(path: request.output)
    try Self.requireNew(run, request)
    footprint = try RunFootprint(run)
    description = Description(configuration: configuration.yaml, vocabulary: corpus.vocabulary)
    try run.create()
    // Whoever holds the lock may remove what it has created, and nobody else.
    let lock = try RunLock(run)
    do {
      let store = try CheckpointStore(lock: lock) { try faults.inject($0, step: $1) }
      let checkpoint = try Self.checkpoint(to: request.resume, run, configuration, logger) {
        try store.newestVerified(onRefusal: $0)
      }
      isOwn = try checkpoint.map { try Self.isCheckpoint($0, of: run) } ?? false
      if let checkpoint { try Self.check(checkpoint, run, request, configuration, corpus, logger) }
      try description.write(to: run)
      let state = checkpoint?.state.continued(on: TextIdentity(corpus))
      let takesSteps = state.map { !$0.isOver(configuration, lastStep: request.lastStep) } ?? true
      record = try Self.record(of: run, after: state, takesSteps: takesSteps, configuration.yaml)
      if let defect = record.defect(expectingLines: isOwn ? state?.metricsLineCount : nil) {
        logger.warning("metrics are incomplete", metadata: ["reason": "\(defect)"])
      }
      if let state, isOwn {
        // An evaluation made at a stop counts for the run's best only until the run takes another step.
        try store.rewind(
          to: state.step, bestStep: takesSteps ? state.bestStep : state.best?.step, newer: .areSetAside)
      } else {
        try run.recordNewestCheckpoint(nil)
      }
      self.store = store
      self.checkpoint = checkpoint
    } catch {
      footprint.restore()
      throw error
    }
  }

  /// The checkpoint that a run would continue from, with the checks of a start; nothing is written.
  static func rehearse(
    _ request: TrainingRequest, configuration: RunConfiguration, corpus: Corpus, logger: Logger
  ) throws -> Checkpoint? {
    let run = RunDirectory(path: request.output)
    try requireNew(run, request)
    try RunFootprint(run).requireWritable()
    let checkpoint = try checkpoint(to: request.resume, run, configuration, logger) {
      try run.newestVerified(onRefusal: $0)
    }
    if let checkpoint { try check(checkpoint, run, request, configuration, corpus, logger) }
    return checkpoint
  }

  /// Removes what this process has created, after a start that failed.
  func cleanUpFailedStart() { footprint.restore() }

  private static func requireNew(_ run: RunDirectory, _ request: TrainingRequest) throws {
    guard request.resume == .never, try run.holdsRun() else { return }
    throw MilmError(
      "\(request.output) already holds a run: expected a new directory, or --resume auto to continue it")
  }

  /// Writes configuration and vocabulary again where the run's directory has vanished.
  func restoreDescription() throws {
    guard case .absent = try FileEntry(at: store.run.configurationPath) else { return }
    try store.run.create()
    try description.write(to: store.run)
  }

  /// The newest scheduled checkpoint up to `step` that verifies; nil where there is none.
  ///
  /// A checkpoint that was written at a stop is not returned to: a run that was never stopped does not have it.
  func lastGoodCheckpoint(
    through step: Int, isScheduled: (CheckpointState) -> Bool, logger: Logger
  ) throws -> Checkpoint? {
    try store.newestVerified(through: step, where: isScheduled) {
      logger.warning("a checkpoint was refused", metadata: ["reason": "\($0)"])
    }
  }

  /// The same run, rewound to one of its checkpoints because it has diverged since.
  func returned(to checkpoint: Checkpoint) throws -> RunStorage {
    try store.rewind(to: checkpoint.state.step, bestStep: checkpoint.state.bestStep, newer: .haveDiverged)
    let record = try Self.record(
      of: store.run, after: checkpoint.state, takesSteps: true, description.configuration)
    return RunStorage(
      store: store, record: record, checkpoint: checkpoint, isOwn: true, description: description,
      footprint: footprint)
  }

  private init(
    store: CheckpointStore, record: RunRecord, checkpoint: Checkpoint, isOwn: Bool, description: Description,
    footprint: RunFootprint
  ) {
    self.description = description
    self.footprint = footprint
    self.store = store
    self.record = record
    self.checkpoint = checkpoint
    self.isOwn = isOwn
  }

  /// Removes the lines of steps after the checkpoint, of an evaluation that is repeated, and of one that only a stop has made.
  private static func record(
    of run: RunDirectory, after state: CheckpointState?, takesSteps: Bool, _ configuration: String
  ) throws -> RunRecord {
    let pending = state?.pendingEvaluation
    let isRepeated = state?.ownPerplexity == nil || takesSteps && state?.stopEvaluation != nil
    let repeated = [pending?.perplexity == nil ? pending?.step : nil, isRepeated ? state?.step : nil]
    return try RunRecord(
      run.files, title: URL(filePath: run.path).standardizedFileURL.lastPathComponent,
      configuration: configuration, keepingThroughStep: state?.step,
      evaluationsBeforeStep: repeated.compactMap { $0 }.min())
  }

  private static func checkpoint(
    to resume: TrainingRequest.Resume, _ run: RunDirectory, _ configuration: RunConfiguration,
    _ logger: Logger, newest: (_ onRefusal: (CheckpointRefusal) -> Void) throws -> Checkpoint?
  ) throws -> Checkpoint? {
    switch resume {
    case .never: return nil
    case .auto:
      var refusedCount = 0
      let checkpoint = try newest {
        refusedCount += 1
        logger.warning("a checkpoint was refused", metadata: ["reason": "\($0)"])
      }
      // The disk may be unavailable for a while: that must not overwrite what has been trained.
      guard checkpoint != nil || refusedCount == 0 else {
        throw MilmError(
          "\(run.checkpointsPath): expected a checkpoint that verifies, found none among \(refusedCount); "
            + "move them away to start from the beginning")
      }
      if checkpoint == nil { try requireNoneKnown(run, configuration) }
      return checkpoint
    case .checkpoint(let path):
      let checkpoint = try Checkpoint(directory: path)
      try checkpoint.verify()
      return checkpoint
    }
  }

  /// Throws if the run has completed a checkpoint before: the disk of the checkpoints may not be mounted.
  private static func requireNoneKnown(_ run: RunDirectory, _ configuration: RunConfiguration) throws {
    let known: (step: Int, source: String)
    switch try run.checkpointRecord() {
    case .none: return
    case .step(let step, by: let source): known = (step, source)
    case .absent:
      // For a run of an earlier version the metrics tell its last step.
      let settings = configuration.coordinator
      let first = min(settings.checkpointEvery, settings.evaluateEvery > 0 ? settings.evaluateEvery : .max)
      let step = try run.files.newestStep()
      guard step >= first else { return }
      known = (step, run.metricsPath)
    }
    throw MilmError(
      run.checkpointsPath, expected: "a checkpoint, since the run has reached step \(known.step)",
      found:
        "none, so that the run would start from step 0; bring the checkpoints back (is their disk mounted?), or remove "
        + "\(run.path)", at: known.source)
  }

  private static func isCheckpoint(_ checkpoint: Checkpoint, of run: RunDirectory) throws -> Bool {
    let own = URL(filePath: run.location(ofStep: checkpoint.state.step).path).resolvingSymlinksInPath()
    return URL(filePath: checkpoint.path).resolvingSymlinksInPath().path == own.path
  }

  /// Throws where the checkpoint is not of the run that is there, the vocabulary differs, or a key of the configuration
  /// that may not differ on resume.
  private static func check(
    _ checkpoint: Checkpoint, _ run: RunDirectory, _ request: TrainingRequest,
    _ configuration: RunConfiguration, _ corpus: Corpus, _ logger: Logger
  ) throws {
    guard try isCheckpoint(checkpoint, of: run) || !run.holdsRun() else {
      throw MilmError(
        "\(checkpoint.path) belongs to a different run than \(request.output): expected a checkpoint of this run, "
          + "or a new directory")
    }
    guard checkpoint.state.vocabularyHash == corpus.vocabulary.hash else {
      throw MilmError(
        "\(request.corpus): the vocabulary differs from that of \(checkpoint.path): expected hash "
          + "\(checkpoint.state.vocabularyHash), found \(corpus.vocabulary.hash); a new run may start from its weights, "
          + "with --init \(request.output)")
    }
    try checkTexts(checkpoint, request, TextIdentity(corpus), logger)
    let earlier = try RunConfiguration(
      yaml: checkpoint.state.configuration, source: "the configuration in \(checkpoint.path)")
    if let difference = configuration.differenceThatForbidsResuming(from: earlier) {
      throw MilmError(
        "cannot resume with a different configuration: \(difference); a new run may start from the weights of this one, "
          + "with --init \(request.output)")
    }
  }

  /// Throws where the training text differs, whose position the checkpoint holds; warns where the validation split differs.
  private static func checkTexts(
    _ checkpoint: Checkpoint, _ request: TrainingRequest, _ text: TextIdentity, _ logger: Logger
  ) throws {
    guard let earlier = checkpoint.state.tokenChecksums else { return }
    let train = Split.train.rawValue
    guard earlier[train] == text.tokenChecksums[train] else {
      throw MilmError(
        "\(request.corpus): the training text differs from that of \(checkpoint.path): expected tokens with checksum "
          + "\(earlier[train] ?? "none"), found \(text.tokenChecksums[train] ?? "none"); a run continues with the text "
          + "that it has begun, another text needs a new run, which may start from its weights with --init "
          + request.output)
    }
    if checkpoint.state.hasOtherValidation(than: text) {
      logger.warning(
        "the validation split differs from that of the run: its perplexities do not count, and a new best starts",
        metadata: [
          "expected": "\(earlier[Split.valid.rawValue] ?? "none")",
          "found": "\(text.tokenChecksums[Split.valid.rawValue] ?? "none")",
        ])
    }
  }
}

extension RunDirectory {
  /// The run that a checkpoint belongs to.
  init(of checkpoint: Checkpoint) { self.init(ofCheckpointAt: checkpoint.path) }

  /// The run that a checkpoint in `path` belongs to.
  package init(ofCheckpointAt path: String) {
    let place = URL(filePath: path).resolvingSymlinksInPath()
    self.init(path: place.deletingLastPathComponent().deletingLastPathComponent().path)
  }

  /// The files of metrics and reports.
  package var files: RunFiles {
    RunFiles(
      metrics: metricsPath, sessions: sessionsPath, events: tensorboardPath, page: reportPath,
      evaluations: evaluationsPath)
  }
}
