/// One key of the configuration file: its path, how it is read, shown and checked, and what it means.
///
/// The list `all` is the only place that names keys; the reader, `--set`, `config.yaml`, the comparison on resume and
/// the configuration reference go by it.
package struct ConfigurationKey: Sendable {
  /// What a value is.
  package enum Kind: String, Sendable {
    case integer, number, boolean, choice
  }

  /// The path, with dots: `model.dropout.input`.
  package let path: String
  package let kind: Kind
  /// The values it takes, as an error names them.
  package let values: String
  /// One sentence.
  package let meaning: String
  /// Whether a resumed run may have another value.
  package let mayDifferOnResume: Bool
  /// Sets the value from a scalar's text; false where the text is none of `values`.
  let read: @Sendable (String, inout RunConfiguration) -> Bool
  /// The value as it stands in YAML.
  package let show: @Sendable (RunConfiguration) -> String

  typealias Place<Value> = WritableKeyPath<RunConfiguration, Value> & Sendable

  /// A key whose value is parsed from text and written as text.
  private init<Value>(
    _ path: String, _ place: Place<Value>, _ meaning: String, _ mayDiffer: Bool, kind: Kind, values: String,
    parse: @escaping @Sendable (String) -> Value?, format: @escaping @Sendable (Value) -> String
  ) {
    self.path = path
    self.kind = kind
    self.values = values
    self.meaning = meaning
    mayDifferOnResume = mayDiffer
    read = { text, configuration in
      guard let value = parse(text) else { return false }
      configuration[keyPath: place] = value
      return true
    }
    show = { format($0[keyPath: place]) }
  }

  static func integer(
    _ path: String, _ place: Place<Int>, _ meaning: String, atLeast minimum: Int,
    atMost maximum: Int = 1 << 20, mayDiffer: Bool = false
  ) -> ConfigurationKey {
    ConfigurationKey(
      path, place, meaning, mayDiffer, kind: .integer, values: "an integer from \(minimum) to \(maximum)",
      parse: { Int($0).flatMap { (minimum...maximum).contains($0) ? $0 : nil } }, format: { "\($0)" })
  }

  static func number(
    _ path: String, _ place: Place<Double>, _ meaning: String, _ limits: NumberLimits, mayDiffer: Bool = false
  ) -> ConfigurationKey {
    ConfigurationKey(
      path, place, meaning, mayDiffer, kind: .number, values: limits.description,
      parse: { Double($0).flatMap { $0.isFinite && limits.contain($0) ? $0 : nil } }, format: { "\($0)" })
  }

  static func choice<Value: RawRepresentable<String> & CaseIterable & Sendable>(
    _ path: String, _ place: Place<Value>, _ meaning: String, mayDiffer: Bool = false
  ) -> ConfigurationKey {
    ConfigurationKey(
      path, place, meaning, mayDiffer, kind: .choice,
      values: Value.allCases.map(\.rawValue).joined(separator: " | "),
      parse: { Value(rawValue: $0) }, format: { $0.rawValue })
  }

  /// `auto`, which is nil, or a choice.
  static func automaticChoice<Value: RawRepresentable<String> & CaseIterable & Sendable>(
    _ path: String, _ place: Place<Value?>, _ meaning: String, mayDiffer: Bool = false
  ) -> ConfigurationKey {
    ConfigurationKey(
      path, place, meaning, mayDiffer, kind: .choice,
      values: (["auto"] + Value.allCases.map(\.rawValue)).joined(separator: " | "),
      parse: { text in text == "auto" ? .some(nil) : Value(rawValue: text).map { .some($0) } },
      format: { $0?.rawValue ?? "auto" })
  }

  static func flag(
    _ path: String, _ place: Place<Bool>, _ meaning: String, mayDiffer: Bool = false
  ) -> ConfigurationKey {
    ConfigurationKey(
      path, place, meaning, mayDiffer, kind: .boolean, values: "true | false",
      parse: { ["true": true, "false": false][$0] },
      format: { "\($0)" })
  }

  /// `auto`, which is nil, or an integer from 1 to 1024.
  static func automaticInteger(
    _ path: String, _ place: Place<Int?>, _ meaning: String, mayDiffer: Bool = false
  ) -> ConfigurationKey {
    ConfigurationKey(
      path, place, meaning, mayDiffer, kind: .integer, values: "auto | an integer from 1 to 1024",
      parse: { text in
        text == "auto" ? .some(nil) : Int(text).flatMap { (1...1024).contains($0) ? .some($0) : nil }
      }, format: { $0.map(String.init) ?? "auto" })
  }
}

extension ConfigurationKey {
  /// The values that can be listed, such as `auto`.
  package var choices: [String] {
    values.split(separator: " | ").map(String.init).filter { !$0.contains(" ") }
  }

  /// Whether runs that differ in it alone repeat the same experiment.
  package var isSeed: Bool { path == "training.seed" }

  /// Whether it may change what is learned, beyond rounding; the others say how a run is executed and recorded.
  package var mayChangeResult: Bool { !Self.ofExecution.contains(path) }

  private static let ofExecution: Set<String> = [
    "training.threads", "exchange.hashEvery", "exchange.stallWarnSeconds", "exchange.stallAbortSeconds",
    "coordinator.placement", "coordinator.reportEvery", "coordinator.keepLast", "coordinator.failedWrites",
  ]
}

/// The range of a number, which is used in single precision.
enum NumberLimits: Sendable {
  case positive
  case notNegative
  case fraction
  case positiveFraction

  func contain(_ value: Double) -> Bool {
    switch self {
    case .positive: Float(value).isNormal && value > 0
    case .notNegative: Float(value).isFinite && value >= 0
    case .fraction: value >= 0 && Float(value) < 1
    case .positiveFraction: Float(value).isNormal && value > 0 && value <= 1
    }
  }

  var description: String {
    switch self {
    case .positive: "a number above 0"
    case .notNegative: "a number of at least 0"
    case .fraction: "a number of at least 0 and below 1"
    case .positiveFraction: "a number above 0 and at most 1"
    }
  }
}

extension ConfigurationKey {
  /// Every key, in the order of the file.
  package static var all: [ConfigurationKey] {
    model + training + optimizer + exchange + coordinator + guarding
  }

  private static var model: [ConfigurationKey] {
    [
      .choice("model.variant", \.model.variant, "The model's parts; `lstm` is the baseline."),
      .integer("model.embedding", \.model.embedding, "Embedding width E.", atLeast: 1, atMost: 1 << 16),
      .integer("model.hidden", \.model.hidden, "Hidden width H of the LSTM.", atLeast: 1, atMost: 1 << 16),
      .integer(
        "model.decoderContext", \.model.decoderContext, "Context width K of the multiplicative decoder.",
        atLeast: 1, atMost: 1 << 12),
      .integer(
        "model.encoderContext", \.model.encoderContext, "Context width K' of the multiplicative encoder.",
        atLeast: 1, atMost: 1 << 12),
      .choice("model.form", \.model.form, "The form of the multiplicative interaction's tensor W."),
      .integer("model.rank", \.model.rank, "Rank R of form `lowrank`.", atLeast: 1, atMost: 1 << 16),
      .integer("model.layers", \.model.layers, "Layers of a Transformer.", atLeast: 1, atMost: 1 << 10),
      .integer(
        "model.width", \.model.width, "Width d of a Transformer's rows: even, a multiple of the heads.",
        atLeast: 2, atMost: 1 << 16),
      .integer("model.heads", \.model.heads, "Attention heads.", atLeast: 1, atMost: 1 << 12),
      .integer(
        "model.inner", \.model.inner, "Width of a Transformer's feed-forward blocks.", atLeast: 1,
        atMost: 1 << 18),
      .integer(
        "model.memory", \.model.memory,
        "Earlier tokens M that a Transformer attends to beside its segment's.",
        atLeast: 0, atMost: 1 << 16),
      .integer(
        "model.attention.clamp", \.model.clamp,
        "Largest distance of attention with a position of its own; 0: all have one.", atLeast: 0,
        atMost: 1 << 20),
      .number("model.dropout.input", \.model.inputDropout, "Dropout rate of the embedding.", .fraction),
      .number("model.dropout.output", \.model.outputDropout, "Dropout rate before the softmax.", .fraction),
      .number(
        "model.dropout.hidden", \.model.hiddenDropout,
        "Dropout rate of a Transformer's positions, after attention, and within and after feed-forward blocks.",
        .fraction),
      .number(
        "model.dropout.attention", \.model.attentionDropout, "Dropout rate of attention probabilities.",
        .fraction
      ),
    ]
  }

  private static var training: [ConfigurationKey] {
    [
      .integer(
        "training.lanes", \.training.lanes,
        "Lanes over all ranks; a multiple of the number of training ranks.", atLeast: 1),
      .integer("training.segment", \.training.segment, "Tokens per lane in a segment, T.", atLeast: 1),
      .integer(
        "training.steps", \.training.steps, "Steps of the run; the schedule ends there.", atLeast: 1,
        atMost: 1 << 40, mayDiffer: true),
      .integer(
        "training.accumulate", \.training.accumulate, "Segments per step.", atLeast: 1, atMost: 1 << 12),
      .integer("training.seed", \.training.seed, "Seed of every random number.", atLeast: 0, atMost: .max),
      .choice(
        "training.precision", \.training.precision,
        "Operands of matrix products, where the engine supports it; weights and sums are fp32."),
      .number(
        "training.softmaxThreshold", \.training.softmaxThreshold,
        "Blocks of the vocabulary whose probabilities are all below it are approximated in the softmax's gradients; "
          + "0 computes all exactly.", .fraction),
      .automaticInteger(
        "training.threads", \.training.threads,
        "Compute threads per rank; `auto` is the rank's share of its host's cores.", mayDiffer: true),
    ]
  }

  private static var optimizer: [ConfigurationKey] {
    [
      .choice("optimizer.kind", \.optimizer.kind, "The update rule; `sgd` is with momentum."),
      .number(
        "optimizer.learningRate", \.optimizer.learningRate, "Peak learning rate.", .positive, mayDiffer: true),
      .number("optimizer.beta1", \.optimizer.beta1, "Adam's decay of the mean.", .fraction),
      .number("optimizer.beta2", \.optimizer.beta2, "Adam's decay of the mean square.", .fraction),
      .number("optimizer.epsilon", \.optimizer.epsilon, "Adam's ε.", .positive),
      .number("optimizer.momentum", \.optimizer.momentum, "Momentum of `sgd`.", .fraction),
      .number(
        "optimizer.weightDecay", \.optimizer.weightDecay,
        "Decoupled weight decay, not applied to biases or the embedding.", .notNegative, mayDiffer: true),
      .number(
        "optimizer.clip", \.optimizer.clip,
        "Gradients are clipped to this global norm; 0 turns clipping off.",
        .notNegative, mayDiffer: true),
      .choice("schedule.kind", \.schedule.kind, "Learning rate schedule after warm-up.", mayDiffer: true),
      .integer("schedule.warmup", \.schedule.warmup, "Steps of linear warm-up.", atLeast: 0, mayDiffer: true),
      .number(
        "schedule.final", \.schedule.final, "Learning rate at the last step; the floor of `plateau`.",
        .notNegative, mayDiffer: true),
    ]
  }

  private static var exchange: [ConfigurationKey] {
    [
      .automaticChoice(
        "exchange.codec", \.exchange.codec,
        "Codec of the gradient all-reduce; `auto` measures and chooses after the second step.",
        mayDiffer: true),
      .vocabulary,
      .integer(
        "exchange.bucketMegabytes", \.exchange.bucketMegabytes,
        "Largest bucket of the gradient, in 10⁶ bytes.",
        atLeast: 1, atMost: 1024, mayDiffer: true),
      .integer(
        "exchange.hashEvery", \.exchange.hashEvery,
        "Steps between comparisons of the replicas' parameters; 0 turns them off.", atLeast: 0,
        mayDiffer: true),
      .automaticInteger(
        "exchange.ranksPerNode", \.exchange.ranksPerNode,
        "Ranks that add their gradients in shared memory; `auto` is all ranks of a host.", mayDiffer: true),
      .flag("exchange.allowLoss", \.exchange.allowLoss, "Whether a codec may round.", mayDiffer: true),
      .flag(
        "exchange.retune", \.exchange.retune, "Whether `auto` may choose again during the run.",
        mayDiffer: true),
      .number(
        "exchange.stallWarnSeconds", \.exchange.stallWarnSeconds, "Seconds until a stalled rank is named.",
        .positive, mayDiffer: true),
      .number(
        "exchange.stallAbortSeconds", \.exchange.stallAbortSeconds,
        "Seconds until a stalled rank ends the job.",
        .positive, mayDiffer: true),
    ]
  }

  private static var vocabulary: ConfigurationKey {
    ConfigurationKey(
      "exchange.vocabulary", \.exchange.vocabulary,
      "Where the rows of the tied matrix are: on every rank, sharded over all ranks, or over groups of that many ranks.",
      true, kind: .choice,
      values:
        "auto | replicated | sharded | an integer from 1 to \(ExchangeSettings.Vocabulary.largestGroup)",
      parse: { ExchangeSettings.Vocabulary($0) }, format: { $0.description })
  }

  private static var guarding: [ConfigurationKey] {
    [
      .integer(
        "guard.window", \.guarding.window,
        "Steps over which mean and deviation of loss and gradient norm are taken.", atLeast: 0, atMost: 10_000
      ),
      .number(
        "guard.outlier", \.guarding.outlier,
        "A step whose loss or gradient norm is this many standard deviations above the mean is skipped; 0 turns it off.",
        .notNegative, mayDiffer: true),
      .number(
        "guard.divergence", \.guarding.divergence,
        "The run has diverged when its mean loss is this many nats per token above its lowest; 0 turns it off.",
        .notNegative, mayDiffer: true),
      .integer(
        "guard.returns", \.guarding.returns,
        "How often a diverged run returns to its last good checkpoint before it fails.", atLeast: 0,
        mayDiffer: true),
      .number(
        "guard.rateFactor", \.guarding.rateFactor, "Factor of the learning rate after each return.",
        .positiveFraction, mayDiffer: true),
    ]
  }

  private static var coordinator: [ConfigurationKey] {
    [
      .choice(
        "coordinator.placement", \.coordinator.placement,
        "Whether rank 0 trains as a `worker` or is `dedicated` to evaluation and checkpoints.",
        mayDiffer: true),
      .integer(
        "coordinator.reportEvery", \.coordinator.reportEvery, "Steps between lines of metrics.", atLeast: 1,
        mayDiffer: true),
      .integer(
        "coordinator.evaluateEvery", \.coordinator.evaluateEvery,
        "Steps between evaluations of the validation split; 0 turns them off.", atLeast: 0, mayDiffer: true),
      .integer(
        "coordinator.evaluateStreams", \.coordinator.evaluateStreams,
        "Streams of the validation split in these evaluations.", atLeast: 1, mayDiffer: true),
      .integer(
        "coordinator.checkpointEvery", \.coordinator.checkpointEvery, "Steps between checkpoints.",
        atLeast: 1, mayDiffer: true),
      .integer(
        "coordinator.keepLast", \.coordinator.keepLast, "Checkpoints kept besides the best one.", atLeast: 1,
        mayDiffer: true),
      .integer(
        "coordinator.failedWrites", \.coordinator.failedWrites,
        "Checkpoints in a row that could not be written until the run stops; 0 never stops it.", atLeast: 0,
        mayDiffer: true),
      .integer(
        "coordinator.patience", \.coordinator.patience,
        "Evaluations without improvement until the run ends; 0 turns early stopping off.", atLeast: 0,
        mayDiffer: true),
    ]
  }
}

extension ExchangeSettings.Vocabulary: CustomStringConvertible {
  static let largestGroup = 1 << 16

  /// Reads a value of `exchange.vocabulary`; nil where it is none.
  init?(_ text: String) {
    switch text {
    case "auto": self = .auto
    case "replicated": self = .replicated
    case "sharded": self = .sharded
    default:
      guard let size = Int(text), (1...Self.largestGroup).contains(size) else { return nil }
      self = .groups(of: size)
    }
  }

  /// As in the configuration file.
  package var description: String {
    switch self {
    case .auto: "auto"
    case .replicated: "replicated"
    case .sharded: "sharded"
    case .groups(let size): "\(size)"
    }
  }
}
