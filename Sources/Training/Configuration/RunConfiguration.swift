import Communication
import LanguageModel
import Layers
import Tensors

/// All settings of a run: the configuration file, with defaults filled in.
///
/// Keys and limits are in `ConfigurationKey.all`.
package struct RunConfiguration: Sendable, Equatable {
  /// Sizes and variant of the model.
  package var model = ModelConfiguration()
  /// Data and length of the run.
  package var training = TrainingConfiguration()
  package var optimizer = OptimizerConfiguration()
  /// The learning rate over the steps.
  package var schedule = Schedule()
  /// The gradient all-reduce.
  package var exchange = ExchangeSettings()
  /// Evaluation, checkpoints and reports.
  package var coordinator = CoordinatorConfiguration()
  /// The guard against steps that would harm the model.
  package var guarding = GuardConfiguration()

  /// The defaults.
  package init() {}

  /// Tokens per step, over all lanes of all ranks.
  package var tokensPerStep: Int { training.lanes * training.segment * training.accumulate }
}

/// Data and length of a run.
package struct TrainingConfiguration: Sendable, Equatable {
  /// The number of lanes of all ranks.
  package var lanes = 64
  /// Tokens of a lane per segment, T.
  package var segment = 64
  /// Steps of the run, skipped ones included.
  package var steps = 400_000
  /// Segments per step.
  package var accumulate = 1
  /// The seed of all random numbers.
  package var seed = 1
  /// The precision of the operands of matrix products, where the engine supports it; weights and sums are fp32.
  package var precision = Precision.bfloat16
  /// Blocks of tokens whose probabilities are all below this are approximated in the softmax's gradients; 0: none.
  package var softmaxThreshold = 0.0
  /// Compute threads per rank; nil: the rank's share of the host's cores.
  package var threads: Int?
}

/// The gradient all-reduce.
package struct ExchangeSettings: Sendable, Equatable {
  /// Where the tied matrix lives, with everything else that has a row for each token.
  package enum Vocabulary: Sendable, Equatable {
    /// Chosen by the program, once per run.
    case auto
    /// Every rank has all rows, and all ranks exchange their gradient.
    case replicated
    /// Sharded over all training ranks: each computes the logits of its rows for all of them, and keeps their gradient.
    case sharded
    /// Sharded over groups of this many consecutive training ranks; the groups exchange the gradient of each shard.
    case groups(of: Int)
  }

  /// The codec of gradients; nil, `auto` in the file: chosen by measurement.
  package var codec: Codec?
  /// Where the tied matrix lives.
  package var vocabulary = Vocabulary.auto
  /// Megabytes (10⁶) of fp32 gradient per bucket, at most.
  package var bucketMegabytes = 16
  /// The same in bytes.
  package var bucketByteCount: Int { bucketMegabytes * 1_000_000 }
  /// The number of ranks that add their gradients in shared memory, uncompressed; nil: all of a host.
  ///
  /// 1 makes every rank a separate node, so that ranks of one host exchange like ranks of several hosts.
  package var ranksPerNode: Int?
  /// Steps between comparisons of the ranks' parameters; 0: never.
  package var hashEvery = 100
  /// Whether a codec may round.
  package var allowLoss = true
  /// Whether `auto` may choose again during the run.
  package var retune = false
  /// Seconds until a stalled rank is reported.
  package var stallWarnSeconds = 10.0
  /// Seconds until a stalled rank ends the job.
  package var stallAbortSeconds = 30.0

  /// The lowest beta2 with which Adam tolerates four bits.
  private static let leastBeta2ForInt4 = 0.99

  /// The reason why a codec does not work with an optimizer; nil where it does.
  ///
  /// Error feedback releases small entries in bursts, some steps apart. Adam divides by the root of its second moments:
  /// where these decay between bursts, each burst moves its entry by the full rate.
  package func incompatibility(with optimizer: OptimizerConfiguration, codec: Codec) -> String? {
    guard codec == .int4, optimizer.kind == .adam, optimizer.beta2 < Self.leastBeta2ForInt4 else {
      return nil
    }
    return "exchange.codec int4 releases its rounding error in bursts that adam forgets with optimizer.beta2 "
      + "\(optimizer.beta2): expected beta2 of at least \(Self.leastBeta2ForInt4), or codec int8"
  }

  /// The configured codec; for `auto` the one that takes the most memory of those that may be chosen.
  package var largestCodec: Codec { codec ?? (allowLoss ? .int8 : .lossless) }

  /// The codecs that the configuration and the optimizer allow.
  package func candidates(for optimizer: OptimizerConfiguration) -> [Codec] {
    if let codec { return [codec] }
    return Codec.allCases.filter {
      incompatibility(with: optimizer, codec: $0) == nil && ($0.isExact || allowLoss)
    }
  }
}

/// Evaluation, checkpoints and reports.
package struct CoordinatorConfiguration: Sendable, Equatable {
  /// Whether rank 0 trains too.
  package enum Placement: String, CaseIterable, Sendable {
    /// Rank 0 has lanes like any other rank; it writes and evaluates in the background.
    case worker
    /// Rank 0 has no lanes; it applies the same updates, and writes and evaluates while the others train.
    case dedicated
  }

  /// Whether rank 0 trains too.
  package var placement = Placement.worker
  /// Steps between lines of metrics.
  package var reportEvery = 10
  /// Steps between evaluations of the validation split; 0: none.
  package var evaluateEvery = 1000
  /// Streams that the validation split is cut into.
  package var evaluateStreams = 16
  /// Steps between checkpoints.
  package var checkpointEvery = 1000
  /// Checkpoints to keep, beside the best one.
  package var keepLast = 3
  /// The run stops after this many checkpoints in a row could not be written; 0: it continues without.
  package var failedWrites = 10
  /// The run ends after this many evaluations without improvement; 0: never.
  package var patience = 0
}

/// Detection of steps that would harm the model, and what happens when there are many.
package struct GuardConfiguration: Sendable, Equatable {
  /// The number of good steps that mean and deviation are taken over; nothing is an outlier until there are as many.
  package var window = 100
  /// A loss or a gradient norm this many standard deviations above the mean is an outlier; 0: none is.
  package var outlier = 10.0
  /// The run has diverged once the mean loss is this many nats per token above its lowest value; 0: never.
  package var divergence = 2.0
  /// How often a run that diverges returns to its last good checkpoint.
  package var returns = 2
  /// The factor on the learning rate for each return.
  package var rateFactor = 0.5
}
