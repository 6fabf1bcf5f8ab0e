/// Judges whether a server is too slow to wait for: its headers come within a time, and in every such time its data reaches
/// a floor of throughput.
struct TransferPace {
  /// The limits of a transfer.
  struct Limits: Sendable {
    /// Seconds for the headers, and between judgements of the throughput.
    var seconds: Double
    /// The floor, in bytes per second.
    var bytesPerSecond: Double
  }

  private let limits: Limits
  private var windowStart: ContinuousClock.Instant
  private var windowByteCount = 0
  private(set) var hasHeaders = false

  init(_ limits: Limits, start: ContinuousClock.Instant) {
    self.limits = limits
    windowStart = start
  }

  /// Notes that the headers are complete: the data begins.
  mutating func noteHeaders(at now: ContinuousClock.Instant) {
    hasHeaders = true
    windowStart = now
  }

  mutating func note(byteCount: Int) { windowByteCount += byteCount }

  /// What the server is too slow at, nil if it is not.
  mutating func fault(at now: ContinuousClock.Instant) -> String? {
    let seconds = (now - windowStart).inSeconds
    guard seconds >= limits.seconds else { return nil }
    guard hasHeaders else { return headersAreMissing }
    let rate = Double(windowByteCount) / seconds
    (windowStart, windowByteCount) = (now, 0)
    guard rate < limits.bytesPerSecond else { return nil }
    return "expected at least \(Int(limits.bytesPerSecond)) bytes/s, "
      + "found \(Int(rate)) during \(text(seconds)) s"
  }

  /// The fault of a server whose headers do not come.
  var headersAreMissing: String {
    "expected its headers within \(text(limits.seconds)) s, found none complete"
  }

  private func text(_ seconds: Double) -> String { String(format: "%.0f", seconds) }
}
