import Foundation

/// One direction of a chart: which values it shows, and the marks that people read them by.
struct Axis {
  /// A value with a mark.
  struct Tick {
    let value: Double
    let label: String
  }

  let range: ClosedRange<Double>
  let ticks: [Tick]
  private let isLogarithmic: Bool

  /// Where a value lies, from 0 at the lower end to 1 at the upper one; others lie outside.
  func share(of value: Double) -> Double {
    let place = isLogarithmic ? log(max(value, .leastNormalMagnitude)) : value
    let (low, high) =
      isLogarithmic ? (log(range.lowerBound), log(range.upperBound)) : (range.lowerBound, range.upperBound)
    return (place - low) / (high - low)
  }

  /// An axis over round values that enclose `values`.
  static func linear(_ values: ClosedRange<Double>, tickCount: Int = 5) -> Axis {
    let width = values.upperBound - values.lowerBound
    let low = width > 0 ? values.lowerBound : values.lowerBound - max(abs(values.lowerBound) / 2, 1e-9)
    let high = width > 0 ? values.upperBound : values.upperBound + max(abs(values.upperBound) / 2, 1e-9)
    let step = roundStep((high - low) / Double(tickCount))
    let first = (low / step + 1e-9).rounded(.down)
    let last = (high / step - 1e-9).rounded(.up)
    return Axis(
      range: first * step...last * step,
      ticks: stride(from: first, through: last, by: 1).map {
        Tick(value: $0 * step, label: label($0 * step, step: step))
      }, isLogarithmic: false)
  }

  /// An axis from step 0 to `last`, which ends there.
  static func steps(through last: Int, tickCount: Int = 5) -> Axis {
    let last = Double(max(last, 1))
    let step = max(roundStep(last / Double(tickCount)), 1)
    return Axis(
      range: 0...last,
      ticks: stride(from: 0, through: last, by: step).map {
        Tick(value: $0, label: $0 == 0 ? "step 0" : label($0, step: step))
      },
      isLogarithmic: false)
  }

  /// An axis on which equal ratios look equal; all values are above 0.
  static func logarithmic(_ values: ClosedRange<Double>) -> Axis {
    guard values.upperBound / values.lowerBound > 1.6 else { return linear(values) }
    let exponents =
      Int(log10(values.lowerBound).rounded(.down))...Int(log10(values.upperBound).rounded(.up))
    let all = exponents.flatMap { exponent in [1, 2, 5].map { $0 * pow(10, Double(exponent)) } }
    let low = all.last { $0 <= values.lowerBound * 1.000_001 } ?? values.lowerBound
    let high = all.first { $0 >= values.upperBound * 0.999_999 } ?? values.upperBound
    let shown = all.filter { (low...high).contains($0) }
    let decades = shown.filter { (log10($0) - log10($0).rounded()).magnitude < 1e-9 }
    let ticks = shown.count > 10 && decades.count > 1 ? decades : shown
    return Axis(
      range: low...high, ticks: ticks.map { Tick(value: $0, label: label($0, step: $0)) }, isLogarithmic: true
    )
  }

  /// The smallest of 1, 2 and 5 times a power of ten that is no smaller.
  private static func roundStep(_ step: Double) -> Double {
    let power = pow(10, log10(step).rounded(.down))
    return ([1, 2, 5, 10].first { $0 * power >= step * 0.999_999 } ?? 10) * power
  }

  /// A value of an axis whose values lie `step` apart: 0.25, 40, 3,600, 20k.
  private static func label(_ value: Double, step: Double) -> String {
    if abs(value) < step * 1e-6 { return "0" }
    if abs(value) >= 1e13 { return Figure.short(value) }
    for (unit, letter) in [(1e9, "G"), (1e6, "M"), (1e3, "k")] where abs(value) >= 10 * unit {
      return decimal(value / unit, step: step / unit) + letter
    }
    return abs(value) >= 1000 ? Figure.grouped(Int(value.rounded())) : decimal(value, step: step)
  }

  private static func decimal(_ value: Double, step: Double) -> String {
    String(format: "%.*f", max(0, Int((-log10(step) - 1e-9).rounded(.up))), value)
  }
}

/// Numbers as the page shows them.
enum Figure {
  /// With a comma between thousands: 3,600.
  static func grouped(_ value: Int) -> String {
    var digits = String(value.magnitude)
    var end = digits.endIndex
    while let place = digits.index(end, offsetBy: -3, limitedBy: digits.startIndex),
      place > digits.startIndex
    {
      digits.insert(",", at: place)
      end = place
    }
    return (value < 0 ? "-" : "") + digits
  }

  /// With four significant digits: 143.2, 0.0125, 5.000e-05, 2.1e+20.
  static func short(_ value: Double) -> String {
    guard value.isFinite else { return "?" }
    if (10_000..<1e15).contains(abs(value)) { return grouped(Int(value.rounded())) }
    return String(format: (1000..<10_000).contains(abs(value)) ? "%.0f" : "%.4g", value)
  }

  /// As per cent with at most one decimal.
  static func percent(_ share: Double) -> String {
    guard share.isFinite else { return "?" }
    return String(format: share < 0.0995 ? "%.1f %%" : "%.0f %%", share * 100)
  }
}
