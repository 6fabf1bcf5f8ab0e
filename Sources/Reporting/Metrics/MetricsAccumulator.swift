import Foundation

/// Combines the values measured since the previous line of a run into the next, as the table says.
package struct MetricsAccumulator {
  /// A measurement of a metric: a value or, of a mean, a weighted sum.
  package enum Measurement {
    case value(MetricValue)
    case weighted(sum: Double, weight: Double)

    package static func integer(_ value: Int) -> Measurement { .value(.integer(value)) }
    package static func number(_ value: Double) -> Measurement { .value(.number(value)) }
    package static func text(_ text: String) -> Measurement { .value(.text(text)) }
    /// A sum over elements that counts in the mean with the number of elements.
    package static func sum(_ sum: Double, over weight: Double) -> Measurement {
      .weighted(sum: sum, weight: weight)
    }
  }

  private let table: MetricTable
  private var line: MetricsLine
  private var means: [String: (sum: Double, weight: Double)] = [:]

  package init(_ table: MetricTable = .training) {
    self.table = table
    line = MetricsLine(table)
  }

  /// Adds measurements, each under a key of the table.
  package mutating func add(_ measurements: KeyValuePairs<String, Measurement>) {
    for (key, measurement) in measurements { add(key, measurement) }
  }

  private mutating func add(_ key: String, _ measurement: Measurement) {
    switch measurement {
    case .value(let value):
      line[key] = table.combination(of: key) == .sum ? line[key] + value : value
    case .weighted(let sum, let weight):
      precondition(table.combination(of: key) == .mean, "\(key) is not a mean")
      guard sum.isFinite else { return }
      means[key, default: (0, 0)].sum += sum
      means[key, default: (0, 0)].weight += weight
    }
  }

  /// The line of what was added since the last call.
  package mutating func finishLine() -> MetricsLine {
    var finished = line
    for (key, mean) in means { finished[key] = .number(mean.sum / mean.weight) }
    for metric in table.metrics {
      if case .exponential(let key) = metric.combination {
        finished[metric.key] = .number(exp(finished.number(key)))
      }
    }
    line = MetricsLine(table)
    means.removeAll(keepingCapacity: true)
    return finished
  }
}

extension MetricTable {
  fileprivate func combination(of key: String) -> Metric.Combination? {
    index(of: key).map { metrics[$0].combination }
  }
}

private func + (left: MetricValue, right: MetricValue) -> MetricValue {
  switch (left, right) {
  case (.integer(let left), .integer(let right)): .integer(left + right)
  case (.number(let left), .number(let right)): .number(left + right)
  default: preconditionFailure("expected two integers or two numbers, found \(left) and \(right)")
  }
}
