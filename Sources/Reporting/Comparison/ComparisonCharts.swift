import Foundation

/// The charts of a comparison: validation and training perplexity, each over steps, tokens and time.
struct ComparisonCharts {
  /// Rows beyond these are drawn in grey and are not in the legend.
  static let coloredRowLimit = 10
  private static let colors: [Color] = [.blue, .orange, .teal, .purple, .amber]
  private static let readingLimit = 60
  /// Curves of few points have a dot at each.
  private static let markedPointLimit = 12

  /// What is drawn of a run.
  private enum Quantity: String, CaseIterable {
    case validation = "Validation perplexity"
    case training = "Training perplexity"

    func values(_ history: RunHistory) -> [(step: Int, value: Double)] {
      switch self {
      case .validation: history.evaluations.map { ($0.step, $0.perplexity) }
      case .training:
        history.points.compactMap { point in point["loss"].mean.map { (point.step, exp($0)) } }
      }
    }
  }

  private let rows: [ComparisonRow]
  private let courses: [[RunCourse]]

  init(_ rows: [ComparisonRow]) {
    self.rows = rows
    courses = rows.map { $0.runs.map { RunCourse($0.history) } }
  }

  /// All charts, in the order of the page.
  var all: [Chart] {
    RunCourse.Measure.allCases.flatMap { measure in
      Quantity.allCases.compactMap { chart($0, by: measure) }
    }
  }

  /// How the curve of a row is drawn; nil for one among the others.
  static func look(ofRow index: Int) -> (color: Color, isDashed: Bool)? {
    guard index < coloredRowLimit else { return nil }
    return (colors[index % colors.count], index >= colors.count)
  }

  private func chart(_ quantity: Quantity, by measure: RunCourse.Measure) -> Chart? {
    var curves = rows.indices.map { points(ofRow: $0, quantity, by: measure) }
    guard let last = curves.compactMap(\.last?.x).max(), last > 0 else { return nil }
    let unit = PlaceUnit(measure, last: last)
    curves = curves.map { $0.map { $0.scaled(by: unit.scale) } }
    let values = curves.flatMap { withoutBeginning($0).flatMap { [$0.y, $0.low, $0.high] } }
      .compactMap { $0 }.filter { $0.isFinite && $0 > 0 }
    guard let low = values.min(), let high = values.max() else { return nil }
    var chart = Chart(
      title: quantity.rawValue, subtitle: "over \(unit.name), logarithmic",
      x: unit.axis(through: last * unit.scale),
      values: .logarithmic(low...high))
    // The best row is in front.
    chart.curves = rows.indices.reversed().flatMap { drawn(curves[$0], row: $0, quantity) }
    chart.legend = legend(curves, quantity)
    chart.readings = readings(curves, unit)
    return chart
  }

  /// The points by which the axis is chosen: the first values are so high that they would flatten all differences.
  private func withoutBeginning(_ points: [Curve.Point]) -> ArraySlice<Curve.Point> {
    points.dropFirst(points.count < 10 ? 0 : points.count / 6)
  }

  /// The curve of a row: the mean of its runs where all of them are known, with a band of the standard error.
  private func points(
    ofRow index: Int, _ quantity: Quantity, by measure: RunCourse.Measure
  ) -> [Curve.Point] {
    let lines = zip(rows[index].runs, courses[index]).map { run, course in
      let values = quantity.values(run.history).filter { $0.value.isFinite && $0.value > 0 }
      return PolygonalLine(values.map { course.place(ofStep: $0.step, by: measure) }, values.map(\.value))
    }
    return lines[0].places.compactMap { place in
      let values = lines.map { $0.value(at: place) }
      guard !values.contains(nil), let estimate = Estimate(values) else { return nil }
      return estimate.error.map { Curve.Point(place, estimate.mean, error: $0) }
        ?? Curve.Point(place, estimate.mean)
    }
  }

  private func drawn(_ points: [Curve.Point], row: Int, _ quantity: Quantity) -> [Curve] {
    guard let look = Self.look(ofRow: row) else { return [Curve(color: .grey, points: points)] }
    var curves = [Curve(color: look.color, style: look.isDashed ? .dashed : .line, points: points)]
    if points.count <= Self.markedPointLimit {
      curves.append(Curve(color: look.color, style: .dots, points: points))
    } else if quantity == .validation,
      let best = points.min(by: { ($0.y ?? .infinity) < ($1.y ?? .infinity) })
    {
      curves.append(Curve(color: look.color, style: .dots, points: [best]))
    }
    return curves
  }

  private func legend(_ curves: [[Curve.Point]], _ quantity: Quantity) -> [Chart.LegendEntry] {
    var entries: [Chart.LegendEntry] = rows.indices.compactMap { index in
      guard let look = Self.look(ofRow: index), !curves[index].isEmpty else { return nil }
      let row = rows[index]
      let value =
        quantity == .validation
        ? row.bestValid?.text(Comparison.perplexity) : curves[index].last.flatMap(text)
      return .init(color: look.color, name: row.name, value: value ?? "?", isDashed: look.isDashed)
    }
    let others = rows.count - Self.coloredRowLimit
    if others > 0 { entries.append(.init(color: .grey, name: "\(others) others", value: "")) }
    return entries
  }

  private func text(_ point: Curve.Point) -> String? {
    point.y.map { y in
      Comparison.perplexity(y) + (point.high.map { " ± \(Comparison.perplexity($0 - y))" } ?? "")
    }
  }

  /// At some of the places of the curves, the last value of every row at or before it.
  private func readings(_ curves: [[Curve.Point]], _ unit: PlaceUnit) -> [Chart.Reading] {
    let places = Array(Set(curves.prefix(Self.coloredRowLimit).flatMap { $0.map(\.x) })).sorted()
    let stride = max(1, (places.count + Self.readingLimit - 1) / Self.readingLimit)
    let chosen = places.enumerated().filter {
      $0.offset % stride == stride - 1 || $0.offset == places.count - 1
    }.map(\.element)
    return chosen.map { place in
      Chart.Reading(
        x: place, heading: unit.text(place),
        lines: rows.indices.compactMap { index in
          guard let look = Self.look(ofRow: index), let point = curves[index].last(where: { $0.x <= place }),
            let value = text(point)
          else { return nil }
          return .init(color: look.color, text: "\(value)  \(rows[index].name)")
        })
    }
  }
}

/// The unit of a horizontal axis.
private struct PlaceUnit {
  let name: String
  /// From the measure's own unit to this one.
  let scale: Double
  private let measure: RunCourse.Measure

  /// The unit for an axis that ends at `last`.
  init(_ measure: RunCourse.Measure, last: Double) {
    self.measure = measure
    (name, scale) =
      switch measure {
      case .steps: ("steps", 1)
      case .tokens: ("tokens", 1)
      case .hours: last >= 2 ? ("hours", 1) : last >= 0.05 ? ("minutes", 60) : ("seconds", 3600)
      }
  }

  func axis(through last: Double) -> Axis {
    switch measure {
    case .steps: .steps(through: Int(min(last, 1e15)))
    case .tokens: .amounts(through: last, title: "tokens", zero: "0")
    case .hours:
      .amounts(
        through: last, title: name, zero: "0 \(name == "hours" ? "h" : name == "minutes" ? "min" : "s")")
    }
  }

  func text(_ place: Double) -> String {
    switch measure {
    case .steps: "step \(Readable.grouped(Int(min(place, 1e15))))"
    case .tokens: "\(Readable.count(place)) tokens"
    case .hours: Readable.duration(seconds: place / scale * 3600)
    }
  }
}

extension Curve.Point {
  /// The same point of a curve over another unit.
  fileprivate func scaled(by factor: Double) -> Curve.Point {
    Curve.Point(x * factor, y, low: low, high: high)
  }
}
