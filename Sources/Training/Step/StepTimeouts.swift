import Communication

/// The timeouts within a step: those of the configuration, but never shorter than steps take.
struct StepTimeouts {
  /// A step that takes this many times as long as the longest one so far is stuck.
  private static let factor = 5.0
  /// The timeout of the first step.
  private static let firstStepSeconds = 600.0

  private let settings: ExchangeSettings
  private let warn: @Sendable (String) -> Void
  private var longestSeconds: Double?

  /// The timeouts of a run; `warn` receives the line that names a stalled rank.
  init(_ settings: ExchangeSettings, warn: @escaping @Sendable (String) -> Void) {
    self.settings = settings
    self.warn = warn
  }

  /// Takes the duration of a step into account.
  mutating func note(stepSeconds: Double) {
    longestSeconds = max(longestSeconds ?? 0, stepSeconds)
  }

  /// The timeouts of the next step.
  var limits: StallLimits {
    let expected = longestSeconds.map { $0 * Self.factor } ?? Self.firstStepSeconds
    return StallLimits(
      warnSeconds: max(settings.stallWarnSeconds, longestSeconds ?? 0),
      abortSeconds: max(settings.stallAbortSeconds, expected), warn: warn)
  }
}
