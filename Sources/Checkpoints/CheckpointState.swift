import Foundation
import Platform

/// The content of `state.json`: all that a run needs to resume from a checkpoint, except its tensors.
package struct CheckpointState: Codable, Sendable, Equatable {
  /// The version of `state.json` that this program writes and reads.
  package static let currentFormatVersion = 1

  /// Version of the format of `state.json`.
  package var formatVersion = CheckpointState.currentFormatVersion
  /// Steps taken, including skipped ones.
  package var step: Int
  /// The position in the data: segments read since the start of the run.
  package var segmentIndex: Int
  /// Tokens read since the start of the run, over all lanes and epochs.
  package var tokenCount: Int
  /// Steps skipped by the guard since the start of the run.
  package var skippedStepCount = 0
  /// Steps skipped by the guard since the last good one.
  package var consecutiveSkippedStepCount = 0
  /// The guard's record; nil in checkpoints of versions without a guard.
  package var guardRecord: GuardRecord?
  /// The state of the `plateau` schedule.
  package var plateau = Plateau()
  /// Consecutive evaluations without improvement, which count against the run's patience.
  package var patienceUsed = 0
  /// The lowest perplexity of an evaluation whose result has taken effect.
  package var bestPerplexity: Double?
  /// The step of `bestPerplexity`.
  package var bestStep: Int?
  /// The latest evaluation whose result has taken effect; nil in checkpoints of versions that did not record it.
  package var lastEvaluation: Evaluation?
  /// The evaluation of a step at which a process has stopped, though none was due: it counts for what is read from the run
  /// and never takes effect, so that a run that continues is the same as one that never stopped.
  package var stopEvaluation: Evaluation?
  /// An evaluation whose result has not taken effect yet.
  package var pendingEvaluation: PendingEvaluation?
  /// Whether the run writes a checkpoint at this step wherever its processes stop: the guard returns to no other.
  ///
  /// Nil in checkpoints of versions that did not record it.
  package var isScheduled: Bool?
  /// The number of lines of training in `metrics.jsonl` through this step; nil in checkpoints of versions that did not
  /// record it.
  package var metricsLineCount: Int?
  /// The codecs chosen so far, in the order of their steps.
  package var codecDecisions: [CodecDecision] = []

  /// Ranks of the run that wrote the checkpoint.
  package var rankCount: Int
  /// The node of each rank, nil if every rank had its own; ranks of one node share memory.
  package var nodeOfRank: [Int]?
  /// Ranks with lanes; nil in checkpoints of versions in which all ranks had lanes.
  package var trainingRankCount: Int?
  /// How many ranks the tied matrix was sharded over; nil in checkpoints of versions whose configuration determines it.
  package var vocabularyGroupSize: Int?
  /// Compute threads of each rank.
  package var threadCount: Int
  /// The matrix product engine.
  package var engine: String
  /// The CPU level of the kernels.
  package var cpuLevel: String
  /// The precision of the matrix products.
  package var precision: String
  /// The version of the program that wrote the checkpoint.
  package var programVersion: String
  /// The run's whole configuration, as YAML.
  package var configuration: String
  /// The hash of the model's vocabulary.
  package var vocabularyHash: String
  /// The checksum of the tokens of each split of the corpus, by the split's name; nil in checkpoints of versions that did
  /// not record it.
  package var tokenChecksums: [String: String]?

  /// What the run was started from; nil for a run with initial weights of its own.
  package var initialWeights: InitialWeights?

  /// Whether the training text was raw text and was tokenized, so that other texts must be too.
  package var isTokenized = false

  /// The digest of every other file of the checkpoint, by name; filled in when the checkpoint is written.
  package var files: [String: FileDigest] = [:]

  /// The state of the `plateau` schedule.
  package struct Plateau: Codable, Sendable, Equatable {
    /// The factor of the learning rate.
    package var rateScale: Double
    /// Evaluations without improvement since the rate was last lowered.
    package var evaluationsWithoutGain: Int

    /// Default: the state at the start of a run.
    package init(rateScale: Double = 1, evaluationsWithoutGain: Int = 0) {
      self.rateScale = rateScale
      self.evaluationsWithoutGain = evaluationsWithoutGain
    }
  }

  /// The guard's record of the steps so far.
  package struct GuardRecord: Codable, Sendable, Equatable {
    /// The factor of the learning rate after rollbacks.
    package var rateScale = 1.0
    /// The number of rollbacks to an earlier checkpoint.
    package var returnCount = 0
    /// Losses in nats per token of the most recent good steps, oldest first.
    package var losses: [Double] = []
    /// The gradient norms of these steps.
    package var norms: [Double] = []
    /// The lowest mean of a whole window of losses.
    package var lowestLoss: Double?
    /// The step at which it was reached.
    package var lowestLossStep: Int?

    /// A record of no steps.
    package init() {}
  }

  /// Weights of another run that a run was started from.
  package struct InitialWeights: Codable, Sendable, Equatable {
    /// The file.
    package var path: String
    /// The file's SHA-256.
    package var sha256: String
    /// The model's tensors that the file lacks, which were initialized.
    package var newTensors: [String]
    /// Where the vocabulary differs: how many tokens both have, whose rows were kept.
    package var commonTokens: Int?

    /// The weights in the file at `path`.
    package init(path: String, sha256: String, newTensors: [String], commonTokens: Int?) {
      self.path = path
      self.sha256 = sha256
      self.newTensors = newTensors
      self.commonTokens = commonTokens
    }
  }

  /// The result of an evaluation.
  package struct Evaluation: Codable, Sendable, Equatable {
    /// The step whose parameters were evaluated.
    package var step: Int
    package var perplexity: Double

    /// The result of the parameters of `step`.
    package init(step: Int, perplexity: Double) {
      self.step = step
      self.perplexity = perplexity
    }
  }

  /// An evaluation whose result has not taken effect yet.
  package struct PendingEvaluation: Codable, Sendable, Equatable {
    /// The step whose parameters are evaluated.
    package var step: Int
    /// Its result, if already known.
    package var perplexity: Double?

    /// An evaluation of the parameters of `step`.
    package init(step: Int, perplexity: Double? = nil) {
      self.step = step
      self.perplexity = perplexity
    }
  }

  /// A choice of codec.
  package struct CodecDecision: Codable, Sendable, Equatable {
    /// The first step that used it.
    package var step: Int
    /// The codec's name.
    package var codec: String
    /// Why it was chosen.
    package var reason: String

    /// A choice that took effect at `step`.
    package init(step: Int, codec: String, reason: String) {
      self.step = step
      self.codec = codec
      self.reason = reason
    }
  }

  /// The state of a run at `step`, without evaluations so far.
  package init(
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
}

/// Whether a name can only denote a file in its own directory, other than `state.json`.
func isPlainFileName(_ name: String) -> Bool {
  !name.isEmpty && !name.hasPrefix(".") && !name.contains("/") && !name.contains("\0")
    && name != stateFileName
}

/// The name of the file in a checkpoint that describes all the others.
let stateFileName = "state.json"
