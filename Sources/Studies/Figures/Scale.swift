import Foundation

/// Where the values of an axis lie along it, and where its ticks are.
struct Scale {
  /// A line across the panel, and what stands beside it.
  struct Tick {
    let value: Double
    let label: String
  }

  private let isLogarithmic: Bool
  /// The ends of the axis; logarithms of them where it is logarithmic.
  private let lowest: Double
  private let highest: Double

  /// Fits the values, with a little room around them.
  init(_ axis: Axis, values: [Double]) {
    isLogarithmic = axis.isLogarithmic
    let isLogarithmic = isLogarithmic
    let usable = values.filter { $0.isFinite && (!isLogarithmic || $0 > 0) }
    func place(_ value: Double) -> Double { isLogarithmic ? log10(value) : value }
    var low = place(axis.range?.lowerBound ?? usable.min() ?? 1)
    var high = place(axis.range?.upperBound ?? usable.max() ?? 10)
    if high - low < 1e-9 {
      low -= 0.5
      high += 0.5
    }
    if axis.range == nil {
      let room = (high - low) * 0.04
      low -= room
      high += room
    }
    (lowest, highest) = (low, high)
  }

  /// The place of a value, 0 at the low end of the axis and 1 at the high end.
  func place(_ value: Double) -> Double {
    let position = isLogarithmic ? log10(max(value, 1e-300)) : value
    return (position - lowest) / (highest - lowest)
  }

  /// About five ticks.
  var ticks: [Tick] { isLogarithmic ? logarithmicTicks : linearTicks }

  private var linearTicks: [Tick] {
    let rough = (highest - lowest) / 5
    let magnitude = pow(10, log10(rough).rounded(.down))
    let step = magnitude * ([1, 2, 5, 10].first { $0 * magnitude >= rough } ?? 10)
    let first = Int((lowest / step - 1e-9).rounded(.up))
    let last = Int((highest / step + 1e-9).rounded(.down))
    guard first <= last else { return [] }
    return (first...last).map { Tick(value: Double($0) * step, label: label(Double($0) * step)) }
  }

  private var logarithmicTicks: [Tick] {
    let decades = Int(lowest.rounded(.down))...Int(highest.rounded(.up))
    let span = highest - lowest
    let factors: [Double] = span < 1.2 ? [1, 2, 3, 5] : span < 2.2 ? [1, 3] : [1]
    let stride = max(1, Int((span / 6).rounded(.up)))
    return decades.filter { $0 % stride == 0 }.flatMap { decade in
      factors.map { $0 * pow(10, Double(decade)) }
    }
    .filter { (-1e-9...1 + 1e-9).contains(place($0)) }
    .map { Tick(value: $0, label: label($0)) }
  }

  /// As people write it: `0.05`, `250`, `20k`, `10⁻⁵`.
  private func label(_ value: Double) -> String {
    let size = abs(value)
    if size >= 1e6 || (isLogarithmic && size < 0.999e-3) {
      let decade = Int((log10(size) + 1e-9).rounded(.down))
      let factor = value / pow(10, Double(decade))
      let prefix = abs(factor - 1) < 1e-6 ? "" : String(format: "%g·", factor)
      return "\(prefix)10\(superscript(decade))"
    }
    if size >= 1e4 { return String(format: "%gk", value / 1000) }
    return String(format: "%g", (value * 1e9).rounded() / 1e9).replacing("-", with: "−")
  }

  private func superscript(_ number: Int) -> String {
    let digits = Array("⁰¹²³⁴⁵⁶⁷⁸⁹")
    return (number < 0 ? "⁻" : "")
      + String("\(abs(number))".compactMap { $0.wholeNumberValue.map { digits[$0] } })
  }
}
