import Foundation
import Platform

/// Curves between a pair of axes.
///
/// `Chart` draws one into the report page, `Figure` several into a picture.
package struct Plot: Sendable {
  let title: String
  let x: Axis
  let y: Axis
  let curves: [Curve]

  package init(title: String, x: Axis, y: Axis, curves: [Curve]) {
    self.title = title
    self.x = x
    self.y = y
    self.curves = curves
  }

  /// A plot whose axes enclose the curves.
  package init(title: String, x: String, y: String, isLogarithmic: Bool = false, curves: [Curve]) {
    let points = curves.flatMap(\.points)
    self.init(
      title: title, x: .fitting(points.map(\.x), title: x),
      y: .fitting(
        points.flatMap { [$0.y, $0.low, $0.high] }.compactMap { $0 }, title: y, isLogarithmic: isLogarithmic),
      curves: curves)
  }
}

/// Points with a color and a style, and perhaps a name in the legend.
package struct Curve: Sendable {
  /// A point; `low` and `high` bound a band around the curve.
  package struct Point: Sendable {
    package let x: Double
    /// Nil leaves a gap.
    let y: Double?
    let low: Double?
    let high: Double?

    package init(_ x: Double, _ y: Double?, low: Double? = nil, high: Double? = nil) {
      self.x = x
      self.y = y
      self.low = low
      self.high = high
    }

    /// A point with a symmetric error.
    package init(_ x: Double, _ y: Double, error: Double) {
      self.init(x, y, low: y - error, high: y + error)
    }
  }

  package enum Style: Sendable {
    case line
    case dashed
    /// A line with a dot at each point.
    case marked
    case dots
    /// The area between the curve and the bottom of the plot, filled.
    case area
  }

  /// The name in a figure's legend, given to one of the curves that share it.
  let name: String?
  let color: Color
  let style: Style
  /// The width of the line in pixels.
  let width: Double
  let opacity: Double
  package let points: [Point]

  package init(
    name: String? = nil, color: Color, style: Style = .line, width: Double = 2, opacity: Double = 1,
    points: [Point]
  ) {
    self.name = name
    self.color = color
    self.style = style
    self.width = width
    self.opacity = opacity
    self.points = points
  }
}

/// The palette of the project, distinguishable by color-blind readers (after Okabe & Ito 2008), on white and on dark.
package enum Color: String, Sendable, CaseIterable {
  case blue, orange, teal, purple, amber
  /// For areas behind others.
  case grey
  /// For reference curves.
  case slate
  case ink

  var onWhite: String {
    switch self {
    case .blue: "#2b6bd8"
    case .orange: "#cf5208"
    case .teal: "#0b857a"
    case .purple: "#aa4499"
    case .amber: "#e69f00"
    case .grey: "#b5afa5"
    case .slate: "#767676"
    case .ink: "#1f1d1a"
    }
  }

  var onDark: String {
    switch self {
    case .blue: "#7aa9ff"
    case .orange: "#ff9b5a"
    case .teal: "#4fd1c0"
    case .purple: "#d98cc9"
    case .amber: "#f2c14e"
    case .grey: "#5c626d"
    case .slate: "#9a9a9a"
    case .ink: "#ebe8e3"
    }
  }
}

/// A part of a curve as SVG path data.
enum PlotShape {
  case band(String)
  case area(String)
  case line(String)
  case dots([(x: String, y: String)])
}

extension Plot {
  /// The curves as shapes on a canvas of this size, from back to front: bands are behind all lines.
  ///
  /// Coordinates have `decimals` decimals.
  func shapes(width: Double, height: Double, decimals: Int) -> [(curve: Curve, shape: PlotShape)] {
    let canvas = Canvas(x: x, y: y, width: width, height: height, decimals: decimals)
    let bands = curves.compactMap { curve in canvas.band(curve).map { (curve, PlotShape.band($0)) } }
    return bands + curves.flatMap { curve in canvas.shapes(curve).map { (curve, $0) } }
  }
}

/// Maps values to coordinates, y downwards.
private struct Canvas {
  let x: Axis
  let y: Axis
  let width: Double
  let height: Double
  let decimals: Int

  func shapes(_ curve: Curve) -> [PlotShape] {
    switch curve.style {
    case .line, .dashed: [.line(line(curve))]
    case .marked: [.line(line(curve)), .dots(dots(curve))]
    case .dots: [.dots(dots(curve))]
    case .area: area(curve).map { [.area($0)] } ?? []
    }
  }

  /// The line breaks where there is no value, and where it leaves the plot: along the edge it would look like a value.
  private func line(_ curve: Curve) -> String {
    path(curve.points.map { ($0.x, $0.y.flatMap { isInside($0) ? $0 : nil }) })
  }

  private func dots(_ curve: Curve) -> [(x: String, y: String)] {
    curve.points.compactMap { point in
      point.y.flatMap { isInside($0) ? (coordinate(x: point.x), coordinate(y: $0)) : nil }
    }
  }

  private func area(_ curve: Curve) -> String? {
    let known = curve.points.filter { $0.y?.isFinite == true }
    guard let first = known.first, let last = known.last else { return nil }
    let bottom = text(height)
    return path(known.map { ($0.x, $0.y) })
      + "L\(coordinate(x: last.x)) \(bottom)L\(coordinate(x: first.x)) \(bottom)Z"
  }

  func band(_ curve: Curve) -> String? {
    let known = curve.points.filter { $0.low?.isFinite == true && $0.high?.isFinite == true }
    guard known.contains(where: { $0.low != $0.high }) else { return nil }
    let back = path(known.reversed().map { ($0.x, $0.low) }).replacing("M", with: "L")
    return path(known.map { ($0.x, $0.high) }) + back + "Z"
  }

  private func path(_ points: [(x: Double, y: Double?)]) -> String {
    var path = ""
    var isOpen = false
    for point in points {
      if let value = point.y, value.isFinite {
        path += "\(isOpen ? "L" : "M")\(coordinate(x: point.x)) \(coordinate(y: value))"
        isOpen = true
      } else {
        isOpen = false
      }
    }
    return path
  }

  private func isInside(_ value: Double) -> Bool { (-1e-6...1 + 1e-6).contains(y.position(of: value)) }

  private func coordinate(x value: Double) -> String { text(width * clamped(x.position(of: value))) }

  private func coordinate(y value: Double) -> String { text(height * clamped(1 - y.position(of: value))) }

  /// The edge for what lies outside.
  private func clamped(_ position: Double) -> Double { position.isFinite ? min(max(position, 0), 1) : 0 }

  private func text(_ length: Double) -> String { coordinateText(length, decimals: decimals) }
}

/// Text in HTML or SVG, also within quotation marks.
func escaped(_ text: String) -> String {
  visibleLines(text).replacing("&", with: "&amp;").replacing("<", with: "&lt;").replacing(">", with: "&gt;")
    .replacing("\"", with: "&quot;")
}

/// A coordinate with a fixed number of decimals; what lies far outside is at the edge of what fits.
func coordinateText(_ value: Double, decimals: Int) -> String {
  let value = value.isNaN ? 0 : min(max(value, -1e9), 1e9)
  return decimals == 0 ? "\(Int(value.rounded()))" : String(format: "%.*f", decimals, value)
}
