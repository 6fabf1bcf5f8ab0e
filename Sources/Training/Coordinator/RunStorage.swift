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
  private let configuration: String

  /// Locks the run directory, finds the checkpoint to start from, and rewinds the directory to its step.
  init(
    _ request: TrainingRequest, configuration: RunConfiguration, corpus: Corpus, faults: FaultPlan,
    logger: Logger
  ) throws {
    let run = RunDirectory(path: request.output)
    let holdsRun = try run.holdsRun()
    if request.resume == .never, holdsRun {
      throw MilmError(
        "\(request.output) already holds a run: expected a new directory, or --resume auto to continue it")
    }
    try run.create()
    store = try CheckpointStore(lock: RunLock(run)) { try faults.inject($0, step: $1) }
    checkpoint = try Self.checkpoint(to: request.resume, store, logger)
    isOwn = try checkpoint.map { try Self.isCheckpoint($0, of: run) } ?? false
    if let checkpoint {
      guard isOwn || !holdsRun else {
        throw MilmError(
          "\(checkpoint.path) belongs to a different run than \(request.output): expected a checkpoint of this run, "
            + "or a new directory")
      }
      try Self.check(checkpoint, request, configuration, corpus)
    }
    try run.writeConfiguration(configuration.yaml)
    try corpus.vocabulary.write(to: URL(filePath: run.vocabularyPath))
    record = try Self.record(of: run, after: checkpoint, configuration.yaml)
    self.configuration = configuration.yaml
    if let state = checkpoint?.state, isOwn { try store.rewind(to: state.step, bestStep: state.bestStep) }
  }

  /// The newest checkpoint up to `step` that verifies; nil where there is none.
  func lastGoodCheckpoint(through step: Int, logger: Logger) throws -> Checkpoint? {
    try store.newestVerified(through: step) {
      logger.warning("a checkpoint was refused", metadata: ["reason": "\($0)"])
    }
  }

  /// The same run, rewound to one of its checkpoints; later ones are removed.
  func returned(to checkpoint: Checkpoint) throws -> RunStorage {
    try store.rewind(to: checkpoint.state.step, bestStep: checkpoint.state.bestStep)
    return try RunStorage(
      store: store, record: Self.record(of: store.run, after: checkpoint, configuration),
      checkpoint: checkpoint, isOwn: true, configuration: configuration)
  }

  private init(
    store: CheckpointStore, record: RunRecord, checkpoint: Checkpoint, isOwn: Bool, configuration: String
  ) {
    self.configuration = configuration
    self.store = store
    self.record = record
    self.checkpoint = checkpoint
    self.isOwn = isOwn
  }

  /// Removes the lines of steps after the checkpoint, and of an evaluation that is repeated.
  private static func record(
    of run: RunDirectory, after checkpoint: Checkpoint?, _ configuration: String
  ) throws -> RunRecord {
    let pending = checkpoint?.state.pendingEvaluation
    return try RunRecord(
      run.files, title: URL(filePath: run.path).standardizedFileURL.lastPathComponent,
      configuration: configuration,
      keepingThroughStep: checkpoint?.state.step,
      evaluationsBeforeStep: pending?.perplexity == nil ? pending?.step : nil)
  }

  private static func checkpoint(
    to resume: TrainingRequest.Resume, _ store: CheckpointStore, _ logger: Logger
  ) throws -> Checkpoint? {
    switch resume {
    case .never: return nil
    case .auto:
      var refusedCount = 0
      let checkpoint = try store.newestVerified {
        refusedCount += 1
        logger.warning("a checkpoint was refused", metadata: ["reason": "\($0)"])
      }
      // The disk may be unavailable for a while: that must not overwrite what has been trained.
      guard checkpoint != nil || refusedCount == 0 else {
        throw MilmError(
          "\(store.run.checkpointsPath): expected a checkpoint that verifies, found none among \(refusedCount); "
            + "move them away to start from the beginning")
      }
      return checkpoint
    case .checkpoint(let path):
      let checkpoint = try Checkpoint(directory: path)
      try checkpoint.verify()
      return checkpoint
    }
  }

  private static func isCheckpoint(_ checkpoint: Checkpoint, of run: RunDirectory) throws -> Bool {
    let own = URL(filePath: run.location(ofStep: checkpoint.state.step).path).resolvingSymlinksInPath()
    return URL(filePath: checkpoint.path).resolvingSymlinksInPath().path == own.path
  }

  /// Throws where the vocabulary differs, or a key of the configuration that may not differ on resume.
  private static func check(
    _ checkpoint: Checkpoint, _ request: TrainingRequest, _ configuration: RunConfiguration, _ corpus: Corpus
  ) throws {
    guard checkpoint.state.vocabularyHash == corpus.vocabulary.hash else {
      throw MilmError(
        "\(request.corpus): the vocabulary differs from that of \(checkpoint.path): expected hash "
          + "\(checkpoint.state.vocabularyHash), found \(corpus.vocabulary.hash)")
    }
    let earlier = try RunConfiguration(
      yaml: checkpoint.state.configuration, source: "the configuration in \(checkpoint.path)")
    if let difference = configuration.differenceThatForbidsResuming(from: earlier) {
      throw MilmError("cannot resume with a different configuration: \(difference)")
    }
  }
}

extension RunDirectory {
  /// The run that a checkpoint belongs to.
  init(of checkpoint: Checkpoint) {
    let place = URL(filePath: checkpoint.path).resolvingSymlinksInPath()
    self.init(path: place.deletingLastPathComponent().deletingLastPathComponent().path)
  }

  /// The files of metrics and reports.
  package var files: RunFiles {
    RunFiles(metrics: metricsPath, sessions: sessionsPath, events: tensorboardPath, page: reportPath)
  }
}
