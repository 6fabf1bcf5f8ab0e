import Communication
import LanguageModel
import Layers
import Tensors

/// Everything that a run is set to: the configuration file with its defaults filled in.
///
/// Names, places in the file and limits are in `ConfigurationKey.all`.
public struct RunConfiguration: Sendable, Equatable {
  /// Sizes and variant of the model.
  public var model = ModelConfiguration()
  /// Data and length of the run.
  public var training = TrainingConfiguration()
  /// The update's rule.
  public var optimizer = OptimizerConfiguration()
  /// The learning rate over the steps.
  public var schedule = Schedule()
  /// The gradient all-reduce.
  public var exchange = ExchangeSettings()
  /// Evaluation, checkpoints and reports.
  public var coordinator = CoordinatorConfiguration()
  /// What is done about steps that would harm the model.
  public var guarding = GuardConfiguration()

  /// The defaults.
  public init() {}

  /// How many words one step sees, over all lanes of all ranks.
  public var tokensPerStep: Int { training.lanes * training.segment * training.accumulate }
}

/// Data and length of a run.
public struct TrainingConfiguration: Sendable, Equatable {
  /// How many lanes the text is cut in, over all ranks.
  public var lanes = 64
  /// T.
  public var segment = 64
  /// How many updates the run makes.
  public var steps = 400_000
  /// How many segments a step accumulates.
  public var accumulate = 1
  /// The root of every random number.
  public var seed = 1
  /// What products' operands are rounded to, where the engine can; weights and sums are fp32 always.
  public var precision = Precision.bfloat16
  /// Blocks of words whose probabilities are all below it are approximated in the softmax's gradients; 0 for exact ones.
  public var softmaxThreshold = 0.0
  /// Compute threads a rank; nil for the cores that the rank has to itself.
  public var threads: Int?
}

/// The gradient all-reduce.
public struct ExchangeSettings: Sendable, Equatable {
  /// A codec, or the wish to have one chosen.
  public enum CodecChoice: String, CaseIterable, Sendable {
    /// Measured and chosen by the program; one that loses nothing where `allowLoss` is off.
    case auto
    /// fp32 as it is, then zstd.
    case none
    /// Byte planes, then zstd.
    case lossless
    /// bf16 byte planes, then zstd.
    case bfloat16
    /// int8 with a scale a block, then zstd.
    case int8
    /// int4 with a scale a block, then zstd.
    case int4
  }

  /// Where the matrix that input and softmax share is, with all else that has a row for each word.
  public enum Vocabulary: String, CaseIterable, Sendable {
    /// Every rank has all of it, and its gradient travels.
    case replicated
    /// Every rank has some words, and computes their logits for the rows of all ranks: the gradient stays where it is.
    case sharded
  }

  /// How gradients travel.
  public var codec = CodecChoice.auto
  /// Where the matrix that input and softmax share is.
  public var vocabulary = Vocabulary.replicated
  /// The most megabytes (10⁶) of fp32 gradient that are exchanged at once.
  public var bucketMegabytes = 16
  /// How many ranks that share memory add their gradients there, uncompressed; nil for all of a host.
  ///
  /// 1 makes every rank a node of its own, so that ranks of one host exchange as those of several do.
  public var ranksPerNode: Int?
  /// How many steps lie between comparisons of the replicas' parameters; 0 for never.
  public var hashEvery = 100
  /// Whether a codec may round.
  public var allowLoss = true
  /// Whether `auto` may choose again during the run.
  public var retune = false
  /// After how long a late rank is named.
  public var stallWarnSeconds = 10.0
  /// After how long a late rank ends the job.
  public var stallAbortSeconds = 30.0

  /// The shortest memory of second moments with which four bits are safe.
  private static let leastBeta2ForInt4 = 0.99

  /// Why this codec must not be used with that optimizer; nil where it may.
  ///
  /// Error feedback pays small entries in bursts, some steps apart. Adam divides by the root of the squares it
  /// remembers: where it forgets them between bursts, each burst moves its entry by the whole rate.
  package func reasonAgainst(_ optimizer: OptimizerConfiguration, codec: Codec) -> String? {
    guard codec == .int4, optimizer.kind == .adam, optimizer.beta2 < Self.leastBeta2ForInt4 else {
      return nil
    }
    return "exchange.codec int4 pays what it rounds off in bursts, which adam forgets with optimizer.beta2 "
      + "\(optimizer.beta2): expected beta2 of at least \(Self.leastBeta2ForInt4), or codec int8"
  }

  /// The codec that gradients travel with; where the program chooses, the one it takes to need most memory.
  public var chosenCodec: Codec {
    switch codec {
    case .auto: allowLoss ? .int8 : .lossless
    case .none: .none
    case .lossless: .lossless
    case .bfloat16: .bfloat16
    case .int8: .int8
    case .int4: .int4
    }
  }
}

/// Evaluation, checkpoints and reports.
public struct CoordinatorConfiguration: Sendable, Equatable {
  /// Whether rank 0 trains too.
  public enum Placement: String, CaseIterable, Sendable {
    /// Rank 0 has lanes like any other; it writes and evaluates in the background.
    case worker
    /// Rank 0 has no lanes; it follows the others, and writes and evaluates while they train.
    case dedicated
  }

  /// Whether rank 0 trains too.
  public var placement = Placement.worker
  /// How many steps lie between lines of metrics.
  public var reportEvery = 10
  /// How many steps lie between evaluations of the validation split; 0 for none.
  public var evaluateEvery = 1000
  /// How many streams the validation split is cut in for that.
  public var evaluateStreams = 16
  /// How many steps lie between checkpoints.
  public var checkpointEvery = 1000
  /// How many checkpoints are kept beside the best one.
  public var keepLast = 3
  /// After how many evaluations without gain the run ends; 0 for never.
  public var patience = 0
}
