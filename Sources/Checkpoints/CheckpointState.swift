import Foundation
import Platform

/// All that a run needs to go on from a checkpoint, apart from its tensors: the content of `state.json`.
public struct CheckpointState: Codable, Sendable, Equatable {
  /// The version of `state.json` that this program writes and reads.
  public static let currentFormatVersion = 1

  /// The version of the file's format.
  public var formatVersion = CheckpointState.currentFormatVersion
  /// Steps taken, the skipped ones included.
  public var step: Int
  /// The position in the data: segments read since the beginning of the run.
  public var segmentIndex: Int
  /// Tokens read since the beginning of the run, over all lanes and epochs.
  public var tokenCount: Int
  /// Steps that the guard has skipped since the beginning of the run.
  public var skippedStepCount = 0
  /// Steps that the guard has skipped without a good one since.
  public var consecutiveSkippedStepCount = 0
  /// What the guard goes by; nil in checkpoints of before there was one.
  public var guardRecord: GuardRecord?
  /// Where the schedule `plateau` stands.
  public var plateau = Plateau()
  /// Evaluations without gain that count against the run's patience.
  public var patienceUsed = 0
  /// The lowest perplexity of an evaluation whose result has taken effect.
  public var bestPerplexity: Double?
  /// The step of `bestPerplexity`.
  public var bestStep: Int?
  /// An evaluation whose result has not taken effect yet.
  public var pendingEvaluation: PendingEvaluation?
  /// The codecs chosen so far, in the order of their steps.
  public var codecDecisions: [CodecDecision] = []

  /// Ranks of the run that wrote the checkpoint.
  public var rankCount: Int
  /// The node of each rank, by rank: ranks of one node share memory; nil where each had its own.
  public var nodeOfRank: [Int]?
  /// How many of these have lanes; nil in checkpoints of before there were others.
  public var trainingRankCount: Int?
  /// How many ranks the tied matrix was sharded over; nil in checkpoints that only their configuration tells.
  public var vocabularyGroupSize: Int?
  /// Compute threads of each rank.
  public var threadCount: Int
  /// The engine of the matrix products.
  public var engine: String
  /// The CPU level the kernels ran on.
  public var cpuLevel: String
  /// The precision of the matrix products.
  public var precision: String
  /// The version of the program that wrote the checkpoint.
  public var programVersion: String
  /// The run's whole configuration, as YAML.
  public var configuration: String
  /// The hash of the vocabulary the model was trained with.
  public var vocabularyHash: String

  /// Whether the training text was raw text that had to be taken apart, as other texts then have to be too.
  public var isTokenized = false

  /// The digest of every other file of the checkpoint by its name; filled in when the checkpoint is written.
  public var files: [String: FileDigest] = [:]

  /// Where the schedule `plateau` stands.
  public struct Plateau: Codable, Sendable, Equatable {
    /// What the learning rate is multiplied by.
    public var rateScale: Double
    /// Evaluations without gain since the rate was last lowered.
    public var evaluationsWithoutGain: Int

    /// The state at the beginning of a run, unless told otherwise.
    public init(rateScale: Double = 1, evaluationsWithoutGain: Int = 0) {
      self.rateScale = rateScale
      self.evaluationsWithoutGain = evaluationsWithoutGain
    }
  }

  /// What the guard knows of the steps so far.
  public struct GuardRecord: Codable, Sendable, Equatable {
    /// What the learning rate is multiplied by, after the run has gone back.
    public var rateScale = 1.0
    /// How often the run has gone back to an earlier checkpoint.
    public var returnCount = 0
    /// Losses in nats a token of the newest good steps, the oldest first.
    public var losses: [Double] = []
    /// Norms of their gradients.
    public var norms: [Double] = []
    /// The lowest mean of a whole window of losses.
    public var lowestLoss: Double?
    /// The step after which it was reached.
    public var lowestLossStep: Int?

    /// A record of no steps.
    public init() {}
  }

  /// An evaluation whose result has not taken effect yet.
  public struct PendingEvaluation: Codable, Sendable, Equatable {
    /// The step whose parameters are evaluated.
    public var step: Int
    /// Its result, where it is already known.
    public var perplexity: Double?

    /// An evaluation of the parameters of `step`.
    public init(step: Int, perplexity: Double? = nil) {
      self.step = step
      self.perplexity = perplexity
    }
  }

  /// A codec the run has chosen.
  public struct CodecDecision: Codable, Sendable, Equatable {
    /// The first step that used it.
    public var step: Int
    /// The codec's name.
    public var codec: String
    /// Why it was chosen.
    public var reason: String

    /// A choice that took effect at `step`.
    public init(step: Int, codec: String, reason: String) {
      self.step = step
      self.codec = codec
      self.reason = reason
    }
  }

  /// The state of a run at `step` where nothing but training has happened yet.
  public init(
    step: Int, segmentIndex: Int, tokenCount: Int, rankCount: Int, threadCount: Int, engine: String,
    cpuLevel: String, precision: String, programVersion: String, configuration: String, vocabularyHash: String
  ) {
    self.step = step
    self.segmentIndex = segmentIndex
    self.tokenCount = tokenCount
    self.rankCount = rankCount
    self.threadCount = threadCount
    self.engine = engine
    self.cpuLevel = cpuLevel
    self.precision = precision
    self.programVersion = programVersion
    self.configuration = configuration
    self.vocabularyHash = vocabularyHash
  }

  /// What makes a state unusable although its types are right, nothing when all is well.
  var defect: String? {
    let counts: [(String, Int)] = [
      ("step", step), ("segmentIndex", segmentIndex), ("tokenCount", tokenCount),
      ("skippedStepCount", skippedStepCount), ("consecutiveSkippedStepCount", consecutiveSkippedStepCount),
      ("plateau.evaluationsWithoutGain", plateau.evaluationsWithoutGain), ("patienceUsed", patienceUsed),
      ("guardRecord.returnCount", guardRecord?.returnCount ?? 0), ("bestStep", bestStep ?? 0),
      ("pendingEvaluation.step", pendingEvaluation?.step ?? 0),
    ]
    if let (name, value) = counts.first(where: { $0.1 < 0 }) {
      return "expected a \(name) of 0 or more, found \(value)"
    }
    for (name, value) in [("rankCount", rankCount), ("threadCount", threadCount)] where value < 1 {
      return "expected a \(name) of 1 or more, found \(value)"
    }
    if let scale = guardRecord?.rateScale, !(scale > 0 && scale <= 1) {
      return "expected a guardRecord.rateScale above 0 and at most 1, found \(scale)"
    }
    if let name = files.keys.first(where: { !isPlainFileName($0) }) {
      return "expected the names of files beside it, found \(name)"
    }
    return nil
  }
}

/// Whether a name can only mean a file in the directory it is looked up in, and not `state.json` itself.
func isPlainFileName(_ name: String) -> Bool {
  !name.isEmpty && !name.hasPrefix(".") && !name.contains("/") && !name.contains("\0")
    && name != stateFileName
}

/// The name of the file in a checkpoint that describes all the others.
let stateFileName = "state.json"
