/// A key of the configuration file: its path, and how it is read, checked and written.
///
/// The list `all` is the only place that names keys: the reader, `--set`, `config.yaml` and the comparison on resume
/// use it.
struct ConfigurationKey {
  /// The path, with dots: `model.dropout.input`.
  let path: String
  /// Whether a resumed run may have another value.
  let mayDifferOnResume: Bool
  /// Sets the value from the text of a scalar; returns what was expected where the text is not valid.
  let read: (String, inout RunConfiguration) -> String?
  /// The value as YAML.
  let show: (RunConfiguration) -> String

  typealias Place<Value> = WritableKeyPath<RunConfiguration, Value>

  static func integer(
    _ path: String, _ place: Place<Int>, atLeast minimum: Int, atMost maximum: Int = 1 << 20,
    mayDiffer: Bool = false
  ) -> ConfigurationKey {
    ConfigurationKey(path: path, mayDifferOnResume: mayDiffer) { text, configuration in
      guard let value = Int(text), value >= minimum, value <= maximum else {
        return "an integer from \(minimum) to \(maximum)"
      }
      configuration[keyPath: place] = value
      return nil
    } show: {
      String($0[keyPath: place])
    }
  }

  static func number(
    _ path: String, _ place: Place<Double>, _ limits: NumberLimits, mayDiffer: Bool = false
  ) -> ConfigurationKey {
    ConfigurationKey(path: path, mayDifferOnResume: mayDiffer) { text, configuration in
      guard let value = Double(text), value.isFinite, limits.contain(value) else {
        return limits.description
      }
      configuration[keyPath: place] = value
      return nil
    } show: {
      "\($0[keyPath: place])"
    }
  }

  static func choice<Value: RawRepresentable<String> & CaseIterable>(
    _ path: String, _ place: Place<Value>, mayDiffer: Bool = false
  ) -> ConfigurationKey {
    ConfigurationKey(path: path, mayDifferOnResume: mayDiffer) { text, configuration in
      guard let value = Value(rawValue: text) else {
        return Value.allCases.map(\.rawValue).joined(separator: " | ")
      }
      configuration[keyPath: place] = value
      return nil
    } show: {
      $0[keyPath: place].rawValue
    }
  }

  /// `auto`, which is nil, or a choice.
  static func automaticChoice<Value: RawRepresentable<String> & CaseIterable>(
    _ path: String, _ place: Place<Value?>
  ) -> ConfigurationKey {
    ConfigurationKey(path: path, mayDifferOnResume: false) { text, configuration in
      guard text == "auto" || Value(rawValue: text) != nil else {
        return (["auto"] + Value.allCases.map(\.rawValue)).joined(separator: " | ")
      }
      configuration[keyPath: place] = Value(rawValue: text)
      return nil
    } show: {
      $0[keyPath: place]?.rawValue ?? "auto"
    }
  }

  static func flag(_ path: String, _ place: Place<Bool>) -> ConfigurationKey {
    ConfigurationKey(path: path, mayDifferOnResume: false) { text, configuration in
      guard let value = ["true": true, "false": false][text] else { return "true | false" }
      configuration[keyPath: place] = value
      return nil
    } show: {
      String($0[keyPath: place])
    }
  }

  /// `auto`, which is nil, or an integer from 1 to 1024.
  static func automaticInteger(_ path: String, _ place: Place<Int?>, mayDiffer: Bool) -> ConfigurationKey {
    ConfigurationKey(path: path, mayDifferOnResume: mayDiffer) { text, configuration in
      if text == "auto" {
        configuration[keyPath: place] = nil
        return nil
      }
      guard let value = Int(text), value >= 1, value <= 1024 else {
        return "auto or an integer from 1 to 1024"
      }
      configuration[keyPath: place] = value
      return nil
    } show: {
      $0[keyPath: place].map(String.init) ?? "auto"
    }
  }
}

/// The range of a number, which is used in single precision.
enum NumberLimits {
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
  static var all: [ConfigurationKey] {
    model + training + optimizer + exchange + coordinator + guarding
  }

  private static var model: [ConfigurationKey] {
    [
      .choice("model.variant", \.model.variant),
      .integer("model.embedding", \.model.embedding, atLeast: 1, atMost: 1 << 16),
      .integer("model.hidden", \.model.hidden, atLeast: 1, atMost: 1 << 16),
      .integer("model.decoderContext", \.model.decoderContext, atLeast: 1, atMost: 1 << 12),
      .integer("model.encoderContext", \.model.encoderContext, atLeast: 1, atMost: 1 << 12),
      .choice("model.form", \.model.form),
      .integer("model.rank", \.model.rank, atLeast: 1, atMost: 1 << 16),
      .number("model.dropout.input", \.model.inputDropout, .fraction),
      .number("model.dropout.output", \.model.outputDropout, .fraction),
    ]
  }

  private static var training: [ConfigurationKey] {
    [
      .integer("training.lanes", \.training.lanes, atLeast: 1),
      .integer("training.segment", \.training.segment, atLeast: 1),
      .integer("training.steps", \.training.steps, atLeast: 1, atMost: 1 << 40, mayDiffer: true),
      .integer("training.accumulate", \.training.accumulate, atLeast: 1, atMost: 1 << 12),
      .integer("training.seed", \.training.seed, atLeast: 0, atMost: .max),
      .choice("training.precision", \.training.precision),
      .number("training.softmaxThreshold", \.training.softmaxThreshold, .fraction),
      .automaticInteger("training.threads", \.training.threads, mayDiffer: true),
    ]
  }

  private static var optimizer: [ConfigurationKey] {
    [
      .choice("optimizer.kind", \.optimizer.kind),
      .number("optimizer.learningRate", \.optimizer.learningRate, .positive),
      .number("optimizer.beta1", \.optimizer.beta1, .fraction),
      .number("optimizer.beta2", \.optimizer.beta2, .fraction),
      .number("optimizer.epsilon", \.optimizer.epsilon, .positive),
      .number("optimizer.momentum", \.optimizer.momentum, .fraction),
      .number("optimizer.weightDecay", \.optimizer.weightDecay, .notNegative),
      .number("optimizer.clip", \.optimizer.clip, .notNegative),
      .choice("schedule.kind", \.schedule.kind),
      .integer("schedule.warmup", \.schedule.warmup, atLeast: 0),
      .number("schedule.final", \.schedule.final, .notNegative),
    ]
  }

  private static var exchange: [ConfigurationKey] {
    [
      .automaticChoice("exchange.codec", \.exchange.codec),
      .choice("exchange.vocabulary", \.exchange.vocabulary),
      .integer("exchange.bucketMegabytes", \.exchange.bucketMegabytes, atLeast: 1, atMost: 1024),
      .integer("exchange.hashEvery", \.exchange.hashEvery, atLeast: 0),
      .automaticInteger("exchange.ranksPerNode", \.exchange.ranksPerNode, mayDiffer: true),
      .flag("exchange.allowLoss", \.exchange.allowLoss),
      .flag("exchange.retune", \.exchange.retune),
      .number("exchange.stallWarnSeconds", \.exchange.stallWarnSeconds, .positive, mayDiffer: true),
      .number("exchange.stallAbortSeconds", \.exchange.stallAbortSeconds, .positive, mayDiffer: true),
    ]
  }

  private static var guarding: [ConfigurationKey] {
    [
      .integer("guard.window", \.guarding.window, atLeast: 0, atMost: 10_000),
      .number("guard.outlier", \.guarding.outlier, .notNegative),
      .number("guard.divergence", \.guarding.divergence, .notNegative),
      .integer("guard.returns", \.guarding.returns, atLeast: 0, mayDiffer: true),
      .number("guard.rateFactor", \.guarding.rateFactor, .positiveFraction),
    ]
  }

  private static var coordinator: [ConfigurationKey] {
    [
      .choice("coordinator.placement", \.coordinator.placement, mayDiffer: true),
      .integer("coordinator.reportEvery", \.coordinator.reportEvery, atLeast: 1, mayDiffer: true),
      .integer("coordinator.evaluateEvery", \.coordinator.evaluateEvery, atLeast: 0),
      .integer("coordinator.evaluateStreams", \.coordinator.evaluateStreams, atLeast: 1),
      .integer("coordinator.checkpointEvery", \.coordinator.checkpointEvery, atLeast: 1),
      .integer("coordinator.keepLast", \.coordinator.keepLast, atLeast: 1, mayDiffer: true),
      .integer("coordinator.patience", \.coordinator.patience, atLeast: 0),
    ]
  }
}
