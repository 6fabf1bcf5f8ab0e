/// The mean of some values with its standard error.
package struct Estimate: Sendable, Equatable {
  package let mean: Double
  /// The sample's standard deviation over the root of its size; nil for a single value.
  package let error: Double?

  /// The estimate from the values that are known; nil where none is.
  package init?(_ values: [Double?]) {
    let values = values.compactMap { $0 }.filter(\.isFinite)
    guard !values.isEmpty else { return nil }
    let count = Double(values.count)
    let mean = values.reduce(0, +) / count
    self.mean = mean
    let squares = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) }
    error = values.count > 1 ? (squares / (count - 1) / count).squareRoot() : nil
  }

  /// Such as `123.45 ± 0.67`.
  func text(_ number: (Double) -> String) -> String {
    number(mean) + (error.map { " ± \(number($0))" } ?? "")
  }
}
