import Foundation

/// A direction of a plot: its range, and the ticks it is read by.
package struct Axis: Sendable {
  struct Tick: Sendable {
    let value: Double
    let label: String
  }

  /// The quantity and its unit.
  let title: String
  let range: ClosedRange<Double>
  let ticks: [Tick]
  private let isLogarithmic: Bool

  private init(
    _ title: String, range: ClosedRange<Double>, isLogarithmic: Bool = false, ticks: [Double],
    label: (Double) -> String
  ) {
    self.title = title
    self.range = range
    self.isLogarithmic = isLogarithmic
    self.ticks = ticks.map { Tick(value: $0, label: label($0)) }
  }

  /// The position of a value, from 0 at the lower end to 1 at the upper; values outside the range lie beyond these.
  func position(of value: Double) -> Double {
    let (low, high) = (range.lowerBound, range.upperBound)
    guard isLogarithmic else { return (value - low) / (high - low) }
    return (log(max(value, .leastNormalMagnitude)) - log(low)) / (log(high) - log(low))
  }

  /// A linear axis whose ends are round values that enclose `values`.
  static func linear(_ values: ClosedRange<Double>, title: String = "", tickCount: Int = 5) -> Axis {
    let width = values.upperBound - values.lowerBound
    let low = width > 0 ? values.lowerBound : values.lowerBound - max(abs(values.lowerBound) / 2, 1e-9)
    let high = width > 0 ? values.upperBound : values.upperBound + max(abs(values.upperBound) / 2, 1e-9)
    let step = roundStep((high - low) / Double(tickCount))
    let first = (low / step + 1e-9).rounded(.down)
    let last = (high / step - 1e-9).rounded(.up)
    // Values near the limits of what a number can hold have no round ticks.
    guard step.isNormal, (first * step).isFinite, (last * step).isFinite, first < last, last - first < 1000
    else {
      return Axis(title, range: 0...1, ticks: [0, 1]) { label($0, step: 1) }
    }
    let ticks = stride(from: first, through: last, by: 1).map { $0 * step }
    return Axis(title, range: first * step...last * step, ticks: ticks) { label($0, step: step) }
  }

  /// A linear axis from step 0 to `last`, where it ends.
  static func steps(through last: Int, tickCount: Int = 5) -> Axis {
    amounts(
      through: Double(max(last, 1)), title: "step", zero: "step 0", smallestStep: 1, tickCount: tickCount)
  }

  /// A linear axis from 0 to `last`, where it ends; the tick at 0 is labelled `zero`.
  static func amounts(
    through last: Double, title: String, zero: String, smallestStep: Double = 0, tickCount: Int = 5
  ) -> Axis {
    let last = last.isFinite && last > 1e-9 ? last : 1
    let step = max(roundStep(last / Double(tickCount)), smallestStep)
    return Axis(title, range: 0...last, ticks: Array(stride(from: 0, through: last, by: step))) {
      $0 == 0 ? zero : label($0, step: step)
    }
  }

  /// A logarithmic axis, all of whose values are positive; linear where they differ too little for its ticks.
  static func logarithmic(_ values: ClosedRange<Double>, title: String = "") -> Axis {
    guard values.upperBound / values.lowerBound > 1.6 else { return linear(values, title: title) }
    let exponents =
      Int(log10(values.lowerBound).rounded(.down))...Int(log10(values.upperBound).rounded(.up))
    let isNarrow = values.upperBound / values.lowerBound < 12
    let factors = isNarrow ? [1, 1.5, 2, 3, 4, 5, 7] : [1, 2, 5]
    let all = exponents.flatMap { exponent in factors.map { $0 * pow(10, Double(exponent)) } }.filter(
      \.isNormal)
    let low = all.last { $0 <= values.lowerBound * 1.000_001 } ?? values.lowerBound
    let high = all.first { $0 >= values.upperBound * 0.999_999 } ?? values.upperBound
    var ticks = all.filter { (low...high).contains($0) }
    let decades = exponents.filter { (low...high).contains(pow(10, Double($0))) }
    if ticks.count > 10 && decades.count > 1 {
      let stride = (decades.count + 8) / 9
      ticks = decades.filter { $0 % stride == 0 }.map { pow(10, Double($0)) }
    }
    return Axis(title, range: low...high, isLogarithmic: true, ticks: ticks) {
      $0 < 0.999e-3 ? scientificLabel($0) : label($0, step: isNarrow ? $0 / 10 : $0)
    }
  }

  /// An axis that encloses those of the values it can show.
  package static func fitting(
    _ values: some Sequence<Double>, title: String, isLogarithmic: Bool = false
  ) -> Axis {
    let shown = values.filter { $0.isFinite && (!isLogarithmic || $0 > 0) }
    let range = (shown.min() ?? 1)...(shown.max() ?? 10)
    return isLogarithmic ? logarithmic(range, title: title) : linear(range, title: title)
  }

  /// The smallest of 1, 2 and 5 times a power of ten that is at least `step`.
  private static func roundStep(_ step: Double) -> Double {
    let power = pow(10, log10(step).rounded(.down))
    return ([1, 2, 5, 10].first { $0 * power >= step * 0.999_999 } ?? 10) * power
  }

  /// A tick of an axis whose ticks are `step` apart: 0.25, 40, 3,600, 20k.
  private static func label(_ value: Double, step: Double) -> String {
    if abs(value) < step * 1e-6 { return "0" }
    if abs(value) >= 1e13 { return Readable.number(value) }
    for (unit, least, letter) in [(1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e3, 1e4, "k")]
    where abs(value) >= least {
      return decimal(value / unit, step: step / unit) + letter
    }
    return abs(value) >= 1000 ? Readable.grouped(Int(value.rounded())) : decimal(value, step: step)
  }

  private static func decimal(_ value: Double, step: Double) -> String {
    String(format: "%.*f", max(0, Int((-log10(step) - 1e-9).rounded(.up))), value)
      .replacing("-", with: "−")
  }

  /// A positive value below 1: 10⁻⁵, 2·10⁻⁵.
  private static func scientificLabel(_ value: Double) -> String {
    let exponent = Int((log10(value) + 1e-9).rounded(.down))
    let factor = (value / pow(10, Double(exponent))).rounded()
    return (factor == 1 ? "" : "\(Int(factor))·") + "10\(Readable.superscript(exponent))"
  }
}
