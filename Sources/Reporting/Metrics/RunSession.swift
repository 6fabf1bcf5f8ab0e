import Foundation
import Platform

/// A process that trained and where in the run it began: a line of `sessions.jsonl`.
package struct RunSession: Codable, Sendable, Equatable {
  /// Why the process began at its step.
  package enum Beginning: String, Codable, Sendable {
    /// A new run.
    case begun
    /// Resumed from a checkpoint.
    case resumed
    /// The guard rolled back to an earlier checkpoint.
    case returned
  }

  package let beginning: Beginning
  /// Steps taken before it.
  package let step: Int
  /// Tokens read before it, by all ranks.
  package let tokens: Int
  /// The time at its beginning, ISO 8601.
  package let time: String
  /// The last step it was to take.
  package let lastStep: Int
  /// The version of milm.
  package let version: String
  package let ranks: Int
  package let hosts: Int
  /// Library, instruction set, precision and threads of rank 0.
  package let engine: String
  /// The processor of rank 0's host.
  package let processor: String
  /// Variant and form.
  package let model: String
  /// Elements of all parameters.
  package let parameters: Int
  /// The size of the vocabulary.
  package let vocabulary: Int
  /// The file whose weights the run was started from, and its SHA-256; nil for a run with initial weights of its own.
  package let initialWeights: String?
  package let initialWeightsSHA256: String?
  /// The checksum of the tokens of the validation split; nil where there is none, or in a run of an earlier version.
  package let validation: String?

  /// A process that begins now.
  package init(
    _ beginning: Beginning, step: Int, tokens: Int, lastStep: Int, version: String, ranks: Int, hosts: Int,
    engine: String, model: String, parameters: Int, vocabulary: Int, validation: String? = nil,
    initialWeights: String? = nil, initialWeightsSHA256: String? = nil
  ) {
    self.beginning = beginning
    self.step = step
    self.tokens = tokens
    self.lastStep = lastStep
    self.version = version
    self.ranks = ranks
    self.hosts = hosts
    self.engine = engine
    self.model = model
    self.parameters = parameters
    self.vocabulary = vocabulary
    self.initialWeights = initialWeights
    self.initialWeightsSHA256 = initialWeightsSHA256
    self.validation = validation
    time = Date().formatted(.iso8601)
    processor = Host.processorName ?? "unknown processor"
  }

  /// Whether a run may have written it: sums of its numbers do not overflow.
  var isPlausible: Bool { [step, tokens, lastStep].allSatisfy(MetricsLine.plausibleIntegers.contains) }
}

/// How a process that trained has ended: a line of `sessions.jsonl` after that of its beginning.
package struct RunEnd: Codable, Sendable, Equatable {
  package enum Ending: String, Codable, Sendable {
    /// The run is over: its last step, or early stopping.
    case finished
    /// The process was told to stop at a step, and has.
    case stopped
    /// A signal, or a disk that cannot be written; the run can be resumed.
    case interrupted
    case failed
  }

  package let ended: Ending
  /// Steps taken since the beginning of the run.
  package let step: Int
  /// The time of the end, ISO 8601.
  package let time: String

  /// An end now.
  package init(_ ended: Ending, step: Int) {
    self.ended = ended
    self.step = step
    time = Date().formatted(.iso8601)
  }
}
