import Foundation
import Platform

/// Judges whether a server is too slow to wait for, over all requests to one address.
///
/// The headers of every request come within a time, and in every such time the data reaches a floor of throughput.
struct TransferPace {
  /// Minimum throughput and maximum time to the headers.
  struct Limits: Sendable {
    /// Seconds for the headers, and between judgements of the throughput.
    var seconds: Double
    /// The floor, in bytes per second.
    var bytesPerSecond: Double
  }

  let limits: Limits
  private var requestStart = ContinuousClock.now
  /// nil before the first headers.
  private var windowStart: ContinuousClock.Instant?
  private var windowByteCount = 0
  private(set) var hasHeaders = false

  init(_ limits: Limits) { self.limits = limits }

  /// Notes that a request is sent.
  mutating func begin() {
    hasHeaders = false
    requestStart = .now
  }

  /// Notes that the headers are complete: the data begins.
  mutating func noteHeaders() {
    hasHeaders = true
    windowStart = windowStart ?? .now
  }

  mutating func note(byteCount: Int) { windowByteCount += byteCount }

  /// The limit that the server has missed; nil if there is none.
  mutating func fault() -> String? {
    let now = ContinuousClock.now
    if !hasHeaders, (now - requestStart).inSeconds >= limits.seconds { return headersAreMissing }
    guard let windowStart, (now - windowStart).inSeconds >= limits.seconds else { return nil }
    let seconds = (now - windowStart).inSeconds
    let rate = Double(windowByteCount) / seconds
    (self.windowStart, windowByteCount) = (now, 0)
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
