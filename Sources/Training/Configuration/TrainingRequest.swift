import Synchronization

/// The arguments of `milm train`; the same on all ranks.
package struct TrainingRequest: Sendable {
  /// Treatment of an existing run.
  package enum Resume: Sendable, Equatable {
    /// Refuse it.
    case never
    /// Continue from its newest checkpoint that verifies; start from the beginning where there is none.
    case auto
    /// Continue from this one.
    case checkpoint(String)
  }

  /// The corpus directory.
  package var corpus: String
  /// The run directory.
  package var output: String
  /// Treatment of an existing run.
  package var resume = Resume.never
  /// The checkpoint, run or safetensors file whose weights a new run starts from; nil for initial weights of its own.
  package var initialWeights: String?
  /// The step of the whole run to stop after; nil for the configured end.
  package var lastStep: Int?
  /// Whether chosen steps are recorded for a trace viewer.
  package var traces = false

  /// A request to train on a corpus and write to a run directory.
  package init(corpus: String, output: String) {
    self.corpus = corpus
    self.output = output
  }
}

/// A request that a run stop soon, with a checkpoint to resume from; it may be made from any thread.
///
/// It is part of the all-reduce of every step's loss, so that all ranks stop after the same step.
package final class StopRequest: Sendable {
  private let flag = Atomic(false)

  /// A request that has not been made.
  package init() {}

  /// Makes the request; it cannot be withdrawn.
  package func make() {
    flag.store(true, ordering: .relaxed)
  }

  /// Whether it was made.
  package var isMade: Bool { flag.load(ordering: .relaxed) }
}

/// The version of this program; all ranks of a run must have the same.
package let programVersion = "0.2.0"
