import Foundation

/// A plot over the steps of a run, or what else it took, as a card of the page.
///
/// The SVG stretches to the room there is; ticks, legend and the readings under the pointer are text beside it.
struct Chart {
  /// A curve's name and a value worth reading at once.
  struct LegendEntry {
    let color: Color
    let name: String
    let value: String
    var isDashed = false
  }

  /// The tooltip at a place.
  struct Reading {
    /// A line of text, after a mark in the color of its curve.
    struct Line {
      var color: Color?
      let text: String
    }

    let x: Double
    /// The place in words.
    let heading: String
    let lines: [Line]
  }

  /// A label in the plot, where it lies on no curve; left out where there is no such place.
  struct Note {
    let x: Double
    let value: Double
    let text: String
  }

  let title: String
  /// The unit, or what else the title needs.
  let subtitle: String
  /// What the curves are drawn over.
  let x: Axis
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
      "<li class=\"\($0.color)\($0.isDashed ? " dashed" : "")\">\(escaped($0.name)) <b>\(escaped($0.value))</b></li>"
    }
    return """
      <section class="card\(isWide ? " wide" : "")">
      <h2>\(escaped(title)) <small>\(escaped(subtitle))</small></h2>
      <ul class="legend">\(entries.joined())</ul>
      <div class="frame"><div class="y">\(valueLabels)</div><div class="plot">
      <svg viewBox="0 0 \(Self.size) \(Self.size)" preserveAspectRatio="none" role="img" \
      aria-label="\(escaped(title)) over \(escaped(x.title))">\(grid)\(drawings)\(restartLines)</svg>
      \(notes.compactMap(label).joined())\(zones)
      </div><div class="x">\(xLabels)</div></div>
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
      "<path class=\"mark\" d=\"M\(coordinate(x.position(of: Double($0)))) 0V\(Self.size)\"/>"
    }.joined()
  }

  private var drawings: String {
    Plot(title: title, x: x, y: values, curves: curves)
      .shapes(width: Double(Self.size), height: Double(Self.size), decimals: 0)
      .map { curve, shape in
        switch shape {
        case .band(let path): "<path class=\"band \(curve.color)\" d=\"\(path)\"/>"
        case .area(let path): "<path class=\"area \(curve.color)\" d=\"\(path)\"/>"
        case .line(let path):
          "<path class=\"line \(curve.color)\(curve.style == .dashed ? " dashed" : "")\" d=\"\(path)\"/>"
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

  private var xLabels: String {
    let ticks = x.ticks.map { tick in
      let position = x.position(of: tick.value)
      let side = position < 0.02 ? " class=\"first\"" : position > 0.96 ? " class=\"last\"" : ""
      return "<span\(side) style=\"left:\(percent(position))\">\(tick.label)</span>"
    }
    return ticks.joined()
  }

  /// Strips of the plot that show a reading under a pointer or a finger.
  private var zones: String {
    let places = readings.map { x.position(of: $0.x) }
    return readings.indices.map { index in
      let start = index == 0 ? 0 : (places[index - 1] + places[index]) / 2
      let end = index + 1 == places.count ? 1 : (places[index] + places[index + 1]) / 2
      let place = (places[index] - start) / max(end - start, 1e-9)
      let lines = [escaped(readings[index].heading)] + readings[index].lines.map(\.html)
      return "<div class=\"zone\(places[index] > 0.5 ? " left" : "")\" style=\"left:\(percent(start));"
        + "width:\(percent(end - start));--at:\(percent(place))\"><p>"
        + lines.joined(separator: "<br>") + "</p></div>"
    }.joined(separator: "\n")
  }

  func percent(_ position: Double) -> String { String(format: "%.2f%%", position * 100) }
}

extension Chart.Reading.Line {
  fileprivate var html: String {
    (color.map { "<i class=\"\($0)\"></i>" } ?? "") + escaped(text)
  }
}
