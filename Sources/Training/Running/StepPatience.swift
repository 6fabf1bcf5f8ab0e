import Communication

/// How long a rank waits for others within a step: as long as the configuration says, and never shorter than steps take.
struct StepPatience {
  /// A step that takes this many times as long as the longest one so far is not slow, but stuck.
  private static let factor = 5.0
  /// Before the first step nothing is known of their length.
  private static let firstStepSeconds = 600.0

  private let settings: ExchangeSettings
  private let warn: @Sendable (String) -> Void
  private var longestSeconds: Double?

  /// The patience of a run; `warn` gets the line that names a late rank.
  init(_ settings: ExchangeSettings, warn: @escaping @Sendable (String) -> Void) {
    self.settings = settings
    self.warn = warn
  }

  /// Takes the length of a step in.
  mutating func note(stepSeconds: Double) {
    longestSeconds = max(longestSeconds ?? 0, stepSeconds)
  }

  /// The limits for the next step.
  var limits: StallLimits {
    let expected = longestSeconds.map { $0 * Self.factor } ?? Self.firstStepSeconds
    return StallLimits(
      warnSeconds: max(settings.stallWarnSeconds, longestSeconds ?? 0),
      abortSeconds: max(settings.stallAbortSeconds, expected), warn: warn)
  }
}
