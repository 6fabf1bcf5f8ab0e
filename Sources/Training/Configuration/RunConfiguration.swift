import Communication
import LanguageModel
import Layers

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
  /// What products are computed in.
  public enum Precision: String, CaseIterable, Sendable {
    /// bf16 operands and fp32 sums where the engine can; master weights are fp32 always.
    case bfloat16
    /// fp32 throughout.
    case float32
  }

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
  /// What products are computed in.
  public var precision = Precision.bfloat16
  /// Compute threads a rank; nil for the cores that the rank has to itself.
  public var threads: Int?
}

/// The gradient all-reduce.
public struct ExchangeSettings: Sendable, Equatable {
  /// A codec, or the wish to have one chosen.
  public enum CodecChoice: String, CaseIterable, Sendable {
    /// Chosen by the program: int8, or lossless where `allowLoss` is off.
    case auto
    /// fp32 as it is, then zstd.
    case none
    /// Byte planes, then zstd.
    case lossless
    /// bf16 byte planes, then zstd.
    case bfloat16
    /// int8 with a scale a block, then zstd.
    case int8
  }

  /// How gradients travel.
  public var codec = CodecChoice.auto
  /// The most megabytes (10⁶) of fp32 gradient that are exchanged at once.
  public var bucketMegabytes = 16
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

  /// Why that codec, in words for the log and `state.json`.
  var codecReason: String {
    switch codec {
    case .auto: allowLoss ? "auto: int8" : "auto without loss: lossless"
    default: "configured"
    }
  }

  /// The codec that gradients travel with.
  public var chosenCodec: Codec {
    switch codec {
    case .auto: allowLoss ? .int8 : .lossless
    case .none: .none
    case .lossless: .lossless
    case .bfloat16: .bfloat16
    case .int8: .int8
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
