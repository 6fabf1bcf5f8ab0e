import Foundation

/// A plot over the steps of a run as a card of the page.
///
/// The SVG stretches to the room there is; ticks, legend and the readings under the pointer are text beside it.
struct Chart {
  /// A curve's name and a value worth reading at once.
  struct LegendEntry {
    let color: Color
    let name: String
    let value: String
  }

  /// The tooltip at a step.
  struct Reading {
    let step: Int
    let lines: [String]
  }

  /// A label in the plot.
  struct Note {
    let step: Int
    let value: Double
    let text: String
  }

  let title: String
  /// The unit, or what else the title needs.
  let subtitle: String
  let steps: Axis
  let values: Axis
  var isWide = false
  var curves: [Curve] = []
  var legend: [LegendEntry] = []
  var readings: [Reading] = []
  var notes: [Note] = []
  /// Steps at which the run was restarted.
  var restarts: [Int] = []

  /// The card.
  var html: String {
    let entries = legend.map {
      "<li class=\"\($0.color)\">\(escaped($0.name)) <b>\(escaped($0.value))</b></li>"
    }
    return """
      <section class="card\(isWide ? " wide" : "")">
      <h2>\(escaped(title)) <small>\(escaped(subtitle))</small></h2>
      <ul class="legend">\(entries.joined())</ul>
      <div class="frame"><div class="y">\(valueLabels)</div><div class="plot">
      <svg viewBox="0 0 \(Self.size) \(Self.size)" preserveAspectRatio="none" role="img" \
      aria-label="\(escaped(title)) over the steps of the run">\(grid)\(drawings)\(restartLines)</svg>
      \(noteLabels)\(zones)
      </div><div class="x">\(stepLabels)</div></div>
      </section>

      """
  }

  /// The canvas in both directions, before it is stretched.
  private static let size = 10_000

  private func coordinate(_ position: Double) -> String {
    coordinateText(position * Double(Self.size), decimals: 0)
  }

  private var grid: String {
    values.ticks.map {
      "<path class=\"grid\" d=\"M0 \(coordinate(1 - values.position(of: $0.value)))H\(Self.size)\"/>"
    }.joined()
  }

  private var restartLines: String {
    restarts.map {
      "<path class=\"mark\" d=\"M\(coordinate(steps.position(of: Double($0)))) 0V\(Self.size)\"/>"
    }.joined()
  }

  private var drawings: String {
    Plot(title: title, x: steps, y: values, curves: curves)
      .shapes(width: Double(Self.size), height: Double(Self.size), decimals: 0)
      .map { curve, shape in
        switch shape {
        case .band(let path): "<path class=\"band \(curve.color)\" d=\"\(path)\"/>"
        case .area(let path): "<path class=\"area \(curve.color)\" d=\"\(path)\"/>"
        case .line(let path): "<path class=\"line \(curve.color)\" d=\"\(path)\"/>"
        case .dots(let places):
          // The round ends of a line of length zero stay round when the plot is stretched.
          "<path class=\"dots \(curve.color)\" d=\"\(places.map { "M\($0.x) \($0.y)h0" }.joined())\"/>"
        }
      }.joined()
  }
}

extension Chart {
  private var valueLabels: String {
    values.ticks.map {
      "<span style=\"bottom:\(percent(values.position(of: $0.value)))\">\($0.label)</span>"
    }.joined()
  }

  private var stepLabels: String {
    let ticks = steps.ticks.map { tick in
      let position = steps.position(of: tick.value)
      let side = position < 0.02 ? " class=\"first\"" : position > 0.96 ? " class=\"last\"" : ""
      return "<span\(side) style=\"left:\(percent(position))\">\(tick.label)</span>"
    }
    return ticks.joined()
  }

  private var noteLabels: String {
    notes.map { note in
      let position = steps.position(of: Double(note.step))
      let side = position < 0.1 ? " first" : position > 0.9 ? " last" : ""
      return "<span class=\"note\(side)\" style=\"left:\(percent(position));"
        + "bottom:\(percent(values.position(of: note.value)))\">\(escaped(note.text))</span>"
    }.joined()
  }

  /// Strips of the plot that show a reading under a pointer or a finger.
  private var zones: String {
    let places = readings.map { steps.position(of: Double($0.step)) }
    return readings.indices.map { index in
      let start = index == 0 ? 0 : (places[index - 1] + places[index]) / 2
      let end = index + 1 == places.count ? 1 : (places[index] + places[index + 1]) / 2
      let place = (places[index] - start) / max(end - start, 1e-9)
      let lines = ["step \(Readable.grouped(readings[index].step))"] + readings[index].lines
      return "<div class=\"zone\(places[index] > 0.5 ? " left" : "")\" style=\"left:\(percent(start));"
        + "width:\(percent(end - start));--at:\(percent(place))\"><p>"
        + lines.map(escaped).joined(separator: "<br>") + "</p></div>"
    }.joined(separator: "\n")
  }

  private func percent(_ position: Double) -> String { String(format: "%.2f%%", position * 100) }
}
