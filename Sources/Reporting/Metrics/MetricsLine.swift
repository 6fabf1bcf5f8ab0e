import Foundation
import Platform

package enum MetricValue: Sendable, Equatable {
  case integer(Int)
  case number(Double)
  case text(String)
}

/// A line of `metrics.jsonl`: a value for each metric of its table.
package struct MetricsLine: Sendable, Equatable {
  package let table: MetricTable
  /// In the order of the table.
  var values: [MetricValue]

  /// A line of these values; a metric without one is 0, `null` or empty.
  package init(_ table: MetricTable, _ values: KeyValuePairs<String, MetricValue> = [:]) {
    self.table = table
    self.values = table.metrics.map(\.missingValue)
    for (key, value) in values { self[key] = value }
  }

  /// The value of a key of the table.
  package subscript(key: String) -> MetricValue {
    get { values[index(of: key)] }
    set {
      let index = index(of: key)
      precondition(table.metrics[index].kind.accepts(newValue), "\(key) cannot be \(newValue)")
      values[index] = newValue
    }
  }

  private func index(of key: String) -> Int {
    guard let index = table.index(of: key) else {
      preconditionFailure("expected a key of the table, found \(key)")
    }
    return index
  }

  func number(_ key: String) -> Double { self[key].number }
  func integer(_ key: String) -> Int { self[key].integer }
  func text(_ key: String) -> String { self[key].text }
}

/// Metrics that the page and the progress line show by name.
extension MetricsLine {
  package var step: Int { integer("step") }
  package var tokens: Int { integer("tokens") }
  package var perplexity: Double { number("perplexity") }
  /// Of a report of training.
  package var tokensPerSecond: Double { number("tokensPerSecond") }
  /// What an evaluation took.
  package var seconds: Double { number("seconds") }
  /// The split of an evaluation; nil for a report of training.
  package var split: String? { table.index(of: "split").map { values[$0].text } }
  /// The ratio of raw to sent bytes; nil when nothing was sent.
  var compressionRatio: Double? {
    integer("wireBytes") > 0 ? Double(integer("rawBytes")) / Double(integer("wireBytes")) : nil
  }
}

/// The outputs of a line.
extension MetricsLine {
  /// The line in `metrics.jsonl`, without its end.
  var json: String {
    "{\(zip(table.metrics, values).map { "\"\($0.key)\":\($1.json($0.kind))" }.joined(separator: ","))}"
  }

  /// The scalars of TensorBoard.
  var scalars: [(tag: String, value: Double)] {
    zip(table.metrics, values).compactMap { metric, value in
      metric.group.map { ("\(split ?? $0)/\(metric.key)", value.number) }
    }
  }

  /// Names and formatted values of the progress line, in order.
  var progressFields: [(name: String, value: String)] {
    zip(table.metrics, values).compactMap { metric, value in
      switch metric.progress {
      case nil: nil
      case .plain: (metric.key, value.plain)
      case .decimals(let count): (metric.key, String(format: "%.*f", count, value.number))
      }
    }
  }
}

extension MetricsLine {
  /// The values as numbers, in the order of the table.
  var numbers: some Sequence<Double> { values.lazy.map(\.number) }
}

extension Metric.Kind {
  fileprivate func accepts(_ value: MetricValue) -> Bool {
    switch (self, value) {
    case (.integer, .integer), (.number, .number), (.exactNumber, .number), (.text, .text): true
    default: false
    }
  }
}

extension Metric {
  /// The value where none was measured or read.
  fileprivate var missingValue: MetricValue {
    switch kind {
    case .integer: .integer(0)
    case .number, .exactNumber: .number(combination == .sum ? 0 : .nan)
    case .text: .text("")
    }
  }
}

extension MetricValue {
  fileprivate var number: Double {
    switch self {
    case .integer(let value): Double(value)
    case .number(let value): value
    case .text: .nan
    }
  }

  fileprivate var integer: Int { if case .integer(let value) = self { value } else { 0 } }

  fileprivate var text: String { if case .text(let text) = self { text } else { "" } }

  fileprivate var plain: String {
    switch self {
    case .integer(let value): "\(value)"
    case .number(let value): nineDigits(value)
    case .text(let text): text
    }
  }

  /// JSON has no infinity and no NaN: both are `null`.
  fileprivate func json(_ kind: Metric.Kind) -> String {
    switch self {
    case .number(let value) where !value.isFinite: "null"
    case .number(let value) where kind == .exactNumber: value.description
    case .text(let text): jsonString(text)
    default: plain
    }
  }
}

/// Nine significant digits, without trailing zeros.
private func nineDigits(_ value: Double) -> String {
  String(format: "%.9g", value)
}
