import Foundation

/// The charts of a run.
struct RunCharts {
  /// How many places of a chart can be read under a pointer.
  private static let readingCount = 60

  private let history: RunHistory
  private let points: [HistoryPoint]
  private let steps: Axis
  private let marks: [Int]
  /// The points that are read under a pointer.
  private let read: [HistoryPoint]

  init(_ history: RunHistory) {
    self.history = history
    let points = history.points
    self.points = points
    let last = max(history.latest?.step ?? 1, history.evaluations.last?.step ?? 1)
    steps = .steps(through: last)
    marks = history.sessions.filter { $0.beginning != .begun && $0.step > 0 }.map(\.step)
    let stride = max(1, (points.count + Self.readingCount - 1) / Self.readingCount)
    read = points.enumerated().filter { $0.offset % stride == stride - 1 || $0.offset == points.count - 1 }
      .map(\.element)
  }

  /// All of them, in the order of the page.
  var all: [Chart] {
    [
      perplexity, loss, learningRate, gradientNorm, throughput, time, bytes,
    ].compactMap { $0 }
  }

  private var perplexity: Chart? {
    let means = points.map { (step: $0.step, value: $0.loss.mean.map { exp($0) }) }
    let evaluated = history.evaluations.map { (step: $0.step, value: Optional($0.perplexity)) }
    guard let range = range(of: withoutBeginning(means + evaluated).filter { $0 > 0 }) else { return nil }
    var chart = chart("Perplexity", "logarithmic", .logarithmic(range))
    chart.isWide = true
    chart.layers = [
      .band(
        low: points.map { ($0.step, exp($0.loss.low)) }, high: points.map { ($0.step, exp($0.loss.high)) },
        color: .blue),
      .line(means, color: .blue), .line(evaluated, color: .orange), .dots(marked(evaluated), color: .orange),
    ]
    chart.legend = [entry(.blue, "training", means.last?.value)]
    if let best = history.best {
      if let last = history.evaluations.last, last.step != best.step {
        chart.legend.append(entry(.orange, "\(best.split), last", last.perplexity))
      }
      chart.legend.append(
        entry(.orange, "\(best.split), best at step \(Figure.grouped(best.step))", best.perplexity))
      chart.notes = [
        .init(step: best.step, value: best.perplexity, text: Figure.short(best.perplexity))
      ]
    }
    chart.readings = readings { point in
      [("training", point.loss.mean.map { Figure.short(exp($0)) })] + [
        evaluationReading(at: point.step) { $0 }
      ]
    }
    return chart
  }

  private var loss: Chart? {
    let means = points.map { (step: $0.step, value: $0.loss.mean) }
    let evaluated = history.evaluations.map { (step: $0.step, value: Optional(log($0.perplexity))) }
    guard let range = range(of: withoutBeginning(means + evaluated)) else { return nil }
    var chart = chart("Loss", "nats a token", .linear(range))
    chart.layers = [
      .band(
        low: points.map { ($0.step, $0.loss.low) }, high: points.map { ($0.step, $0.loss.high) }, color: .blue
      ),
      .line(means, color: .blue), .line(evaluated, color: .orange), .dots(marked(evaluated), color: .orange),
    ]
    chart.legend = [entry(.blue, "training", means.last?.value)]
    if let last = evaluated.last { chart.legend.append(entry(.orange, "validation", last.value)) }
    chart.readings = readings { point in
      [("training", point.loss.mean.map(Figure.short)), evaluationReading(at: point.step) { log($0) }]
    }
    return chart
  }

  private var learningRate: Chart? {
    let rates = points.map { (step: $0.step, value: Optional($0.learningRate)) }
    guard let range = range(of: rates.compactMap(\.value) + [0]), range.upperBound > 0 else { return nil }
    let exponent = range.upperBound < 0.01 ? Int((log10(range.upperBound) + 1e-6).rounded(.down)) : 0
    let scale = pow(10, Double(-exponent))
    let scaled = rates.map { (step: $0.step, value: $0.value.map { $0 * scale }) }
    var chart = chart(
      "Learning rate", exponent == 0 ? "" : "× 10\(superscript(exponent))",
      .linear(range.lowerBound * scale...range.upperBound * scale))
    chart.layers = [.line(scaled, color: .teal)]
    chart.legend = [entry(.teal, "now", rates.last?.value ?? nil)]
    chart.readings = readings { [("rate", Figure.short($0.learningRate))] }
    return chart
  }

  private var gradientNorm: Chart? {
    let means = points.map { (step: $0.step, value: $0.gradientNorm.mean) }
    guard let range = range(of: means.compactMap(\.value).filter { $0 > 0 }) else { return nil }
    let highest = usualHighest(means.compactMap(\.value)) ?? range.upperBound
    let isSpread = highest > 30 * range.lowerBound
    var chart = chart(
      "Norm of the gradient", isSpread ? "before clipping, logarithmic" : "before clipping",
      isSpread ? .logarithmic(range) : .linear(0...highest))
    chart.layers = [.line(means, color: .teal)]
    chart.legend = [entry(.teal, "now", means.last?.value)]
    chart.readings = readings { [("norm", $0.gradientNorm.mean.map(Figure.short))] }
    return chart
  }

  private var throughput: Chart? {
    let speeds = points.map { (step: $0.step, value: $0.tokensPerSecond) }
    guard let highest = speeds.compactMap(\.value).max() else { return nil }
    var chart = chart("Throughput", "tokens a second, all ranks", .linear(0...highest))
    chart.layers = [
      .band(low: speeds.map { ($0.step, $0.value.map { _ in 0 }) }, high: speeds, color: .teal),
      .line(speeds, color: .teal),
    ]
    chart.legend = [
      entry(.teal, "now", speeds.last?.value),
      entry(.teal, "mean", history.whole?.tokensPerSecond),
    ]
    chart.readings = readings { [("", $0.tokensPerSecond.map { "\(Figure.short($0)) tokens/s" })] }
    return chart
  }

  /// What a step's seconds were spent on, one upon the other.
  private var time: Chart? {
    func perStep(_ seconds: (HistoryPoint) -> Double) -> [Chart.Point] {
      points.map { ($0.step, $0.seconds > 0 ? seconds($0) / Double($0.stepCount) : nil) }
    }
    let all = perStep { max($0.seconds, $0.computeSeconds + $0.exposedSeconds) }
    guard let whole = history.whole, whole.seconds > 0, let highest = usualHighest(all.compactMap(\.value))
    else { return nil }
    let scale = highest < 0.5 ? 1000.0 : 1
    func scaled(_ points: [Chart.Point]) -> [Chart.Point] {
      points.map { ($0.step, $0.value.map { $0 * scale }) }
    }
    var chart = chart(
      "Time of a step on rank 0", scale == 1 ? "seconds" : "milliseconds", .linear(0...highest * scale))
    chart.layers = [
      .area(scaled(all), color: .grey),
      .area(scaled(perStep { $0.computeSeconds + $0.exposedSeconds }), color: .orange),
      .area(scaled(perStep(\.computeSeconds)), color: .blue),
    ]
    let shares = TimeShares(whole)
    chart.legend = [
      .init(color: .blue, name: "compute", figure: Figure.percent(shares.compute)),
      .init(color: .orange, name: "waiting for the exchange", figure: Figure.percent(shares.exposed)),
      .init(color: .grey, name: "update and the rest", figure: Figure.percent(shares.rest)),
    ]
    chart.readings = readings { point in
      let shares = TimeShares(point)
      return [
        ("a step", Readable.duration(seconds: point.seconds / Double(point.stepCount))),
        ("compute", Figure.percent(shares.compute)), ("waiting", Figure.percent(shares.exposed)),
      ]
    }
    return chart
  }

  private var bytes: Chart? {
    guard let whole = history.whole, whole.rawByteCount > 0 else { return nil }
    func perStep(_ count: KeyPath<HistoryPoint, Int>) -> [Chart.Point] {
      points.map { ($0.step, Double($0[keyPath: count]) / Double($0.stepCount)) }
    }
    let raw = perStep(\.rawByteCount)
    let highest = raw.compactMap(\.value).max() ?? 1
    let (scale, unit) = [(1e9, "GB"), (1e6, "MB"), (1e3, "kB")].first { highest >= $0.0 } ?? (1, "bytes")
    func scaled(_ points: [Chart.Point]) -> [Chart.Point] {
      points.map { ($0.step, $0.value.map { $0 / scale }) }
    }
    var chart = chart("Bytes that rank 0 sends a step", unit, .linear(0...highest / scale))
    chart.layers = [
      .area(scaled(raw), color: .grey), .area(scaled(perStep(\.wireByteCount)), color: .teal),
    ]
    let ratio = Double(whole.rawByteCount) / Double(max(whole.wireByteCount, 1))
    chart.legend = [
      .init(color: .teal, name: "sent", figure: perStepText(whole.wireByteCount, whole)),
      .init(
        color: .grey, name: "as fp32",
        figure: "\(perStepText(whole.rawByteCount, whole)), \(String(format: "%.2f", ratio)) times as much"),
    ]
    chart.readings = readings { point in
      let ratio = Double(point.rawByteCount) / Double(max(point.wireByteCount, 1))
      return [
        ("sent", perStepText(point.wireByteCount, point)),
        ("as fp32", perStepText(point.rawByteCount, point)),
        ("ratio", String(format: "%.2f", ratio)),
      ]
    }
    return chart
  }
}

extension RunCharts {
  private func chart(_ title: String, _ unit: String, _ values: Axis) -> Chart {
    var chart = Chart(title: title, unit: unit, steps: steps, values: values)
    chart.marks = marks
    return chart
  }

  private func entry(_ color: Chart.Color, _ name: String, _ value: Double?) -> Chart.LegendEntry {
    .init(color: color, name: name, figure: value.map(Figure.short) ?? "?")
  }

  private func readings(_ values: (HistoryPoint) -> [(name: String, value: String?)]) -> [Chart.Reading] {
    read.map { point in
      .init(
        step: point.step,
        lines: values(point).compactMap { name, value in
          value.map { name.isEmpty ? $0 : "\(name) \($0)" }
        })
    }
  }

  /// The last evaluation at or before a step, as far as it is still near.
  private func evaluationReading(
    at step: Int, _ figure: (Double) -> Double
  ) -> (name: String, value: String?) {
    let last = history.evaluations.last { $0.step <= step }
    return ("validation", last.map { "\(Figure.short(figure($0.perplexity))) at \(Figure.grouped($0.step))" })
  }

  private func range(of values: [Double]) -> ClosedRange<Double>? {
    guard let low = values.min(), let high = values.max(), low.isFinite, high.isFinite else { return nil }
    return low...high
  }

  /// The values of all but the first steps of a long run, which are so high that nothing else could be told apart.
  private func withoutBeginning(_ points: [Chart.Point]) -> [Double] {
    let first = self.points.count < 100 ? 0 : self.points[self.points.count / 50].step
    return points.compactMap { $0.step > first ? $0.value : nil }
  }

  /// The evaluations that get a dot: all of them or, where dots would run together, the best.
  private func marked(_ evaluated: [Chart.Point]) -> [Chart.Point] {
    evaluated.count <= 40 ? evaluated : evaluated.filter { $0.step == history.best?.step }
  }

  /// The highest value but for a few that are far above all others, as those of first steps.
  private func usualHighest(_ values: [Double]) -> Double? {
    guard let highest = values.max() else { return nil }
    let usual = values.sorted()[values.count * 19 / 20]
    return highest > 2 * usual ? 1.5 * usual : highest
  }

  private func perStepText(_ byteCount: Int, _ point: HistoryPoint) -> String {
    Readable.byteCount(byteCount / max(point.stepCount, 1))
  }

  private func superscript(_ exponent: Int) -> String {
    let digits: [Character: Character] = [
      "-": "⁻", "0": "⁰", "1": "¹", "2": "²", "3": "³", "4": "⁴", "5": "⁵", "6": "⁶", "7": "⁷", "8": "⁸",
      "9": "⁹",
    ]
    return String(String(exponent).compactMap { digits[$0] })
  }
}

/// What the seconds of some steps went to, as shares of them.
struct TimeShares {
  let compute: Double
  /// Of the exchange, what training waited for.
  let exposed: Double
  let rest: Double

  init(_ point: HistoryPoint) {
    let seconds = max(point.seconds, point.computeSeconds + point.exposedSeconds)
    compute = point.computeSeconds / seconds
    exposed = point.exposedSeconds / seconds
    rest = 1 - compute - exposed
  }
}
