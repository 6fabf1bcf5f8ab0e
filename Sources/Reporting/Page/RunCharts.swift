import Foundation

/// The charts of a run's report page, drawn from its history.
struct RunCharts {
  /// The maximum number of readings in a chart.
  private static let readingLimit = 60

  private let history: RunHistory
  private let points: [HistoryPoint]
  private let steps: Axis
  private let restarts: [Int]
  /// The points that have a reading.
  private let readPoints: [HistoryPoint]

  init(_ history: RunHistory) {
    self.history = history
    let points = history.points
    self.points = points
    let last = max(history.latest?.step ?? 1, history.evaluations.last?.step ?? 1)
    steps = .steps(through: last)
    restarts = history.sessions.filter { $0.beginning != .begun && $0.step > 0 }.map(\.step)
    let stride = max(1, (points.count + Self.readingLimit - 1) / Self.readingLimit)
    readPoints = points.enumerated().filter {
      $0.offset % stride == stride - 1 || $0.offset == points.count - 1
    }.map(\.element)
  }

  /// All charts, in the order of the page.
  var all: [Chart] {
    let own = history.latest?.table.metrics.compactMap { metric in
      metric.chart.flatMap { chart(of: metric.key, $0) }
    }
    return [perplexity, loss, learningRate].compactMap { $0 } + (own ?? [])
      + [throughput, time, bytes].compactMap { $0 }
  }

  private var perplexity: Chart? {
    let means = points.map { point in
      let loss = point["loss"]
      return Curve.Point(
        Double(point.step), loss.mean.map { exp($0) }, low: exp(loss.low), high: exp(loss.high))
    }
    let evaluated = history.evaluations.map { Curve.Point(Double($0.step), $0.perplexity) }
    guard let range = range(of: withoutBeginning(means + evaluated).filter { $0 > 0 }) else { return nil }
    var chart = chart("Perplexity", "logarithmic", .logarithmic(range))
    chart.isWide = true
    chart.curves = curves(means, evaluated)
    chart.legend = [entry(.blue, "training", means.last?.y)]
    if let best = history.best {
      let split = best.split ?? ""
      if let last = history.evaluations.last, last.step != best.step {
        chart.legend.append(entry(.orange, "\(split), last", last.perplexity))
      }
      chart.legend.append(
        entry(.orange, "\(split), best at step \(Readable.grouped(best.step))", best.perplexity))
      chart.notes = [
        .init(x: Double(best.step), value: best.perplexity, text: Readable.number(best.perplexity))
      ]
    }
    chart.readings = readings { point in
      [
        ("training", point["loss"].mean.map { Readable.number(exp($0)) }),
        evaluationReading(at: point.step) { $0 },
      ]
    }
    return chart
  }

  private var loss: Chart? {
    let means = points.map { point in
      let loss = point["loss"]
      return Curve.Point(Double(point.step), loss.mean, low: loss.low, high: loss.high)
    }
    let evaluated = history.evaluations.map { Curve.Point(Double($0.step), log($0.perplexity)) }
    guard let range = range(of: withoutBeginning(means + evaluated)) else { return nil }
    var chart = chart("Loss", "nats per token", .linear(range))
    chart.curves = curves(means, evaluated)
    chart.legend = [entry(.blue, "training", means.last?.y)]
    if let last = evaluated.last { chart.legend.append(entry(.orange, "validation", last.y)) }
    chart.readings = readings { point in
      [
        ("training", point["loss"].mean.map(Readable.number)),
        evaluationReading(at: point.step) { log($0) },
      ]
    }
    return chart
  }

  private var learningRate: Chart? {
    let rates = points.map { (step: $0.step, value: $0["learningRate"].last) }
    guard let range = range(of: rates.compactMap(\.value) + [0]), range.upperBound > 0 else { return nil }
    let exponent =
      range.upperBound < 0.01 ? max(Int((log10(range.upperBound) + 1e-6).rounded(.down)), -300) : 0
    let scale = pow(10, Double(-exponent))
    var chart = chart(
      "Learning rate", exponent == 0 ? "" : "× 10\(Readable.superscript(exponent))",
      .linear(range.lowerBound * scale...range.upperBound * scale))
    chart.curves = [
      Curve(
        color: .teal, points: rates.map { Curve.Point(Double($0.step), $0.value.map { $0 * scale }) })
    ]
    chart.legend = [entry(.teal, "latest", rates.last?.value)]
    chart.readings = readings { [("rate", $0["learningRate"].last.map(Readable.number))] }
    return chart
  }

  /// A metric alone; logarithmic where its positive values are far apart.
  private func chart(of key: String, _ description: Metric.Chart) -> Chart? {
    let means = points.map { Curve.Point(Double($0.step), $0[key].mean) }
    let values = means.compactMap(\.y)
    guard let all = range(of: values), let highest = usualHighest(values) else { return nil }
    let positive = range(of: values.filter { $0 > 0 }) ?? 1...1
    let isSpread = all.lowerBound >= 0 && highest > 30 * positive.lowerBound
    let axis =
      if isSpread {
        Axis.logarithmic(positive)
      } else {
        Axis.linear(all.lowerBound < 0 ? all.lowerBound...max(all.upperBound, 0) : 0...highest)
      }
    let subtitle = [description.subtitle, isSpread ? "logarithmic" : ""].filter { !$0.isEmpty }
    var chart = chart(description.title, subtitle.joined(separator: ", "), axis)
    chart.curves = [Curve(color: .teal, points: means)]
    chart.legend = [entry(.teal, "latest", values.last)]
    chart.readings = readings { [(description.reading, $0[key].mean.map(Readable.number))] }
    return chart
  }

  private var throughput: Chart? {
    let speeds = points.map {
      Curve.Point(
        Double($0.step), $0.tokensPerSecond, low: $0.tokensPerSecond.map { _ in 0 }, high: $0.tokensPerSecond)
    }
    guard let highest = range(of: speeds.compactMap(\.y))?.upperBound else { return nil }
    var chart = chart("Throughput", "tokens/s, all ranks", .linear(0...highest))
    chart.curves = [Curve(color: .teal, points: speeds)]
    chart.legend = [
      entry(.teal, "latest", speeds.last?.y), entry(.teal, "mean", history.whole?.tokensPerSecond),
    ]
    chart.readings = readings { [("", $0.tokensPerSecond.map { "\(Readable.number($0)) tokens/s" })] }
    return chart
  }

  /// Breakdown of the time per step, stacked.
  private var time: Chart? {
    func secondsPerStep(_ seconds: (HistoryPoint) -> Double) -> [Double?] {
      points.map { $0.seconds > 0 ? seconds($0) / Double($0.stepCount) : nil }
    }
    let all = secondsPerStep { max($0.seconds, $0.computeSeconds + $0.exposedSeconds) }
    guard let whole = history.whole, whole.seconds > 0, let highest = usualHighest(all.compactMap { $0 })
    else { return nil }
    let scale = highest < 0.5 ? 1000.0 : 1
    func area(_ seconds: [Double?], _ color: Color) -> Curve {
      Curve(
        color: color, style: .area,
        points: zip(points, seconds).map { Curve.Point(Double($0.step), $1.map { $0 * scale }) })
    }
    var chart = chart(
      "Time per step on rank 0", scale == 1 ? "seconds" : "milliseconds", .linear(0...highest * scale))
    chart.curves = [
      area(all, .grey), area(secondsPerStep { $0.computeSeconds + $0.exposedSeconds }, .orange),
      area(secondsPerStep(\.computeSeconds), .blue),
    ]
    let fractions = whole.timeFractions
    chart.legend = [
      .init(color: .blue, name: "compute", value: Readable.precisePercent(fractions.compute)),
      .init(color: .orange, name: "exposed communication", value: Readable.precisePercent(fractions.exposed)),
      .init(color: .grey, name: "update and other", value: Readable.precisePercent(fractions.rest)),
    ]
    chart.readings = readings { point in
      let fractions = point.timeFractions
      return [
        ("per step", Readable.duration(seconds: point.seconds / Double(point.stepCount))),
        ("compute", Readable.precisePercent(fractions.compute)),
        ("exposed", Readable.precisePercent(fractions.exposed)),
      ]
    }
    return chart
  }

  private var bytes: Chart? {
    guard let whole = history.whole, whole.rawByteCount > 0 else { return nil }
    func bytesPerStep(_ count: (HistoryPoint) -> Int) -> [Double] {
      points.map { Double(count($0)) / Double($0.stepCount) }
    }
    let raw = bytesPerStep(\.rawByteCount)
    let highest = raw.max() ?? 1
    let (scale, unit) = [(1e9, "GB"), (1e6, "MB"), (1e3, "kB")].first { highest >= $0.0 } ?? (1, "bytes")
    func area(_ bytes: [Double], _ color: Color) -> Curve {
      Curve(
        color: color, style: .area,
        points: zip(points, bytes).map { Curve.Point(Double($0.step), $1 / scale) })
    }
    func text(_ byteCount: Int, _ point: HistoryPoint) -> String {
      Readable.byteCount(byteCount / max(point.stepCount, 1))
    }
    func ratio(_ point: HistoryPoint) -> String {
      String(format: "%.2f", Double(point.rawByteCount) / Double(max(point.wireByteCount, 1)))
    }
    var chart = chart("Bytes sent per step by rank 0", unit, .linear(0...highest / scale))
    chart.curves = [area(raw, .grey), area(bytesPerStep(\.wireByteCount), .teal)]
    chart.legend = [
      .init(color: .teal, name: "sent", value: text(whole.wireByteCount, whole)),
      .init(
        color: .grey, name: "as fp32", value: "\(text(whole.rawByteCount, whole)), ratio \(ratio(whole))"),
    ]
    chart.readings = readings { point in
      [
        ("sent", text(point.wireByteCount, point)), ("as fp32", text(point.rawByteCount, point)),
        ("ratio", ratio(point)),
      ]
    }
    return chart
  }
}

extension RunCharts {
  private func chart(_ title: String, _ subtitle: String, _ values: Axis) -> Chart {
    var chart = Chart(title: title, subtitle: subtitle, x: steps, values: values)
    chart.restarts = restarts
    return chart
  }

  /// Training as a line with its band; evaluations as a line with dots or, where dots would overlap, one at the best.
  private func curves(_ training: [Curve.Point], _ evaluated: [Curve.Point]) -> [Curve] {
    let training = Curve(color: .blue, points: training)
    guard evaluated.count > 40 else {
      return [training, Curve(color: .orange, style: .marked, points: evaluated)]
    }
    let best = history.best.map { Double($0.step) }
    return [
      training, Curve(color: .orange, points: evaluated),
      Curve(color: .orange, style: .dots, points: evaluated.filter { $0.x == best }),
    ]
  }

  private func entry(_ color: Color, _ name: String, _ value: Double?) -> Chart.LegendEntry {
    .init(color: color, name: name, value: value.map(Readable.number) ?? "?")
  }

  private func readings(_ values: (HistoryPoint) -> [(name: String, value: String?)]) -> [Chart.Reading] {
    readPoints.map { point in
      .init(
        x: Double(point.step), heading: "step \(Readable.grouped(point.step))",
        lines: values(point).compactMap { name, value in
          value.map { .init(text: name.isEmpty ? $0 : "\(name) \($0)") }
        })
    }
  }

  /// The last evaluation at or before a step.
  private func evaluationReading(
    at step: Int, _ value: (Double) -> Double
  ) -> (name: String, value: String?) {
    let last = history.evaluations.last { $0.step <= step }
    return (
      "validation", last.map { "\(Readable.number(value($0.perplexity))) at \(Readable.grouped($0.step))" }
    )
  }

  private func range(of values: [Double]) -> ClosedRange<Double>? {
    guard let low = values.min(), let high = values.max(), low.isFinite, high.isFinite else { return nil }
    return low...high
  }

  /// The values without the first steps of a long run, which are so high that they would flatten all others.
  private func withoutBeginning(_ points: [Curve.Point]) -> [Double] {
    let first = self.points.count < 100 ? 0 : self.points[self.points.count / 50].step
    return points.compactMap { $0.x > Double(first) ? $0.y : nil }
  }

  /// The highest value, or a lower limit where a few outliers, such as those of first steps, are far above all others.
  private func usualHighest(_ values: [Double]) -> Double? {
    guard let highest = values.max() else { return nil }
    let usual = values.sorted()[values.count * 19 / 20]
    return highest > 2 * usual ? 1.5 * usual : highest
  }
}
