import Foundation

/// A mean with its standard error over seeds.
struct Estimate: Codable, Sendable, Equatable {
  /// The mean.
  let mean: Double
  /// The standard deviation of a value ÷ √(number of values); 0 for a single one.
  let standardError: Double

  /// The mean of these values, of which there is one at least.
  init(_ values: [Double]) {
    let count = Double(values.count)
    let mean = values.reduce(0, +) / count
    let squares = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) }
    self.mean = mean
    standardError = values.count > 1 ? (squares / (count - 1) / count).squareRoot() : 0
  }

  /// As in `0.0123 ± 0.0004`, with so many digits that count in the mean.
  func text(digits: Int = 3) -> String {
    "\(rounded(mean, digits: digits)) ± \(rounded(standardError, digits: 2))"
  }
}

/// A number with so many digits that count.
func rounded(_ value: Double, digits: Int) -> String {
  guard value.isFinite, value != 0 else { return value == 0 ? "0" : "–" }
  let magnitude = Int(log10(abs(value)).rounded(.down))
  if magnitude < -4 { return String(format: "%.\(digits - 1)e", value) }
  return String(format: "%.\(max(0, digits - 1 - magnitude))f", value)
}
