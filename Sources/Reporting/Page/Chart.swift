import Foundation

/// A chart as a piece of a page: lines over the steps of a run, drawn as SVG that stretches to the room there is,
/// with its axes, its legend and what is read under a pointer as text beside it.
struct Chart {
  /// A value at a step; nil where there is none, which leaves a gap.
  typealias Point = (step: Int, value: Double?)

  /// What is drawn, from the back to the front.
  enum Layer {
    /// A line.
    case line([Point], color: Color)
    /// The room between the axis and a line, filled.
    case area([Point], color: Color)
    /// The room between two lines, filled thinly.
    case band(low: [Point], high: [Point], color: Color)
    /// A dot for each value.
    case dots([Point], color: Color)
  }

  /// A color, by its name in the style sheet: it differs between light and dark.
  enum Color: String { case blue, orange, teal, grey }

  /// A line's name and a figure worth reading at once.
  struct LegendEntry {
    let color: Color
    let name: String
    let figure: String
  }

  /// What is read at a step.
  struct Reading {
    let step: Int
    let lines: [String]
  }

  /// A word at a place of the plot.
  struct Note {
    let step: Int
    let value: Double
    let text: String
  }

  let title: String
  let unit: String
  let steps: Axis
  let values: Axis
  var isWide = false
  var layers: [Layer] = []
  var legend: [LegendEntry] = []
  var readings: [Reading] = []
  var notes: [Note] = []
  /// Steps at which the run was resumed.
  var marks: [Int] = []

  /// The card that shows the chart.
  var html: String {
    let entries = legend.map {
      "<li class=\"\($0.color)\">\(escaped($0.name)) <b>\(escaped($0.figure))</b></li>"
    }
    return """
      <section class="card\(isWide ? " wide" : "")">
      <h2>\(escaped(title)) <small>\(escaped(unit))</small></h2>
      <ul class="legend">\(entries.joined())</ul>
      <div class="frame"><div class="y">\(valueLabels)</div><div class="plot">
      <svg viewBox="0 0 \(Self.size) \(Self.size)" preserveAspectRatio="none" role="img" \
      aria-label="\(escaped(title)) over the steps of the run">\(grid)\(layers.map(drawing).joined())\(restarts)</svg>
      \(noteLabels)\(zones)
      </div><div class="x">\(stepLabels)</div></div>
      </section>

      """
  }

  /// The plot's units in both directions; they are stretched to what room there is.
  private static let size = 10_000

  private func x(_ step: Int) -> Int { place(steps.share(of: Double(step))) }

  private func y(_ value: Double) -> Int { place(1 - values.share(of: value)) }

  /// The edge for what lies outside.
  private func place(_ share: Double) -> Int {
    share.isFinite ? Int((min(max(share, 0), 1) * Double(Self.size)).rounded()) : 0
  }

  private var grid: String {
    values.ticks.map { "<path class=\"grid\" d=\"M0 \(y($0.value))H\(Self.size)\"/>" }.joined()
  }

  private var restarts: String {
    marks.map { "<path class=\"mark\" d=\"M\(x($0)) 0V\(Self.size)\"/>" }.joined()
  }

  private func drawing(_ layer: Layer) -> String {
    switch layer {
    case .line(let points, let color):
      // Along the edge it would look like a value.
      let shown = points.map { point in
        (
          step: point.step,
          value: point.value.flatMap { (-1e-6...1 + 1e-6).contains(values.share(of: $0)) ? $0 : nil }
        )
      }
      return "<path class=\"line \(color)\" d=\"\(path(shown))\"/>"
    case .area(let points, let color):
      let known = points.filter { $0.value != nil }
      guard let first = known.first, let last = known.last else { return "" }
      return "<path class=\"area \(color)\" d=\"\(path(known))L\(x(last.step)) \(Self.size)"
        + "L\(x(first.step)) \(Self.size)Z\"/>"
    case .band(let low, let high, let color):
      let (low, high) = (low.filter { $0.value != nil }, high.filter { $0.value != nil })
      guard !low.isEmpty, !high.isEmpty else { return "" }
      let back = path(low.reversed()).replacing("M", with: "L")
      return "<path class=\"band \(color)\" d=\"\(path(high))\(back)Z\"/>"
    case .dots(let points, let color):
      // A line of no length has round ends, which do not become ovals where the plot is stretched.
      let path = points.compactMap { point in
        point.value.flatMap { values.share(of: $0) <= 1 + 1e-6 ? "M\(x(point.step)) \(y($0))h0" : nil }
      }
      return "<path class=\"dots \(color)\" d=\"\(path.joined())\"/>"
    }
  }

  private func path(_ points: [Point]) -> String {
    var path = ""
    var isOpen = false
    for point in points {
      if let value = point.value, value.isFinite {
        path += "\(isOpen ? "L" : "M")\(x(point.step)) \(y(value))"
        isOpen = true
      } else {
        isOpen = false
      }
    }
    return path
  }
}

extension Chart {
  private var valueLabels: String {
    values.ticks.map {
      "<span style=\"bottom:\(percent(values.share(of: $0.value)))\">\($0.label)</span>"
    }.joined()
  }

  private var stepLabels: String {
    let ticks = steps.ticks.map { tick in
      let share = steps.share(of: tick.value)
      let side = share < 0.02 ? " class=\"first\"" : share > 0.96 ? " class=\"last\"" : ""
      return "<span\(side) style=\"left:\(percent(share))\">\(tick.label)</span>"
    }
    return ticks.joined()
  }

  private var noteLabels: String {
    notes.map { note in
      let share = steps.share(of: Double(note.step))
      let side = share < 0.1 ? " first" : share > 0.9 ? " last" : ""
      return "<span class=\"note\(side)\" style=\"left:\(percent(share));"
        + "bottom:\(percent(values.share(of: note.value)))\">\(escaped(note.text))</span>"
    }.joined()
  }

  /// Strips of the plot that show what is read there under a pointer or a finger.
  private var zones: String {
    let places = readings.map { steps.share(of: Double($0.step)) }
    return readings.indices.map { index in
      let start = index == 0 ? 0 : (places[index - 1] + places[index]) / 2
      let end = index + 1 == places.count ? 1 : (places[index] + places[index + 1]) / 2
      let place = (places[index] - start) / max(end - start, 1e-9)
      let lines = ["step \(Figure.grouped(readings[index].step))"] + readings[index].lines
      return "<div class=\"zone\(places[index] > 0.5 ? " left" : "")\" style=\"left:\(percent(start));"
        + "width:\(percent(end - start));--at:\(percent(place))\"><p>"
        + lines.map(escaped).joined(separator: "<br>") + "</p></div>"
    }.joined(separator: "\n")
  }

  private func percent(_ share: Double) -> String { String(format: "%.2f%%", share * 100) }
}

/// Text that stands for itself in HTML, also within quotation marks.
func escaped(_ text: String) -> String {
  text.replacing("&", with: "&amp;").replacing("<", with: "&lt;").replacing(">", with: "&gt;")
    .replacing("\"", with: "&quot;")
}
