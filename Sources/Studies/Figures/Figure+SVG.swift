import Foundation

/// Pixels of a figure.
private enum Layout {
  static let plotWidth = 268.0
  static let plotHeight = 196.0
  static let left = 62.0
  static let right = 18.0
  static let top = 34.0
  static let bottom = 50.0
  static let header = 84.0
  static let margin = 12.0
  static let leastWidth = 680.0
  static var panelWidth: Double { left + plotWidth + right }
  static var panelHeight: Double { top + plotHeight + bottom }
}

extension Figure {
  /// The picture as text.
  var svg: String {
    let rowCount = (panels.count + columnCount - 1) / columnCount
    let panelsWidth = Double(min(columnCount, panels.count)) * Layout.panelWidth
    // The width of letters is not known here; that of the viewer's font may differ a little anyway.
    let textWidth = max(5.7 * Double(subtitle.count), 9.2 * Double(title.count)) + 16
    let width = max(panelsWidth, textWidth, Layout.leastWidth) + 2 * Layout.margin
    let height = Layout.header + Double(rowCount) * Layout.panelHeight + Layout.margin
    var text = """
      <svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 \(pixels(width)) \(pixels(height))" \
      font-family="Helvetica, Arial, sans-serif" font-size="11.5" fill="#333">
      <rect width="\(pixels(width))" height="\(pixels(height))" fill="#fff"/>
      <text x="\(pixels(Layout.margin + 8))" y="27" font-size="17" font-weight="bold" fill="#111">\(escaped(title))</text>
      <text x="\(pixels(Layout.margin + 8))" y="46" fill="#666">\(escaped(subtitle))</text>
      \(legend)

      """
    for (index, panel) in panels.enumerated() {
      let x = Layout.margin + Double(index % columnCount) * Layout.panelWidth
      let y = Layout.header + Double(index / columnCount) * Layout.panelHeight
      text += "<g transform=\"translate(\(pixels(x + Layout.left)) \(pixels(y + Layout.top)))\">\n"
      text += panel.svg(number: index) + "</g>\n"
    }
    return text + "</svg>\n"
  }

  /// Each name once, with a piece of its line.
  private var legend: String {
    var x = Layout.margin + 8
    var names: Set<String> = []
    var text = ""
    for curve in panels.flatMap(\.curves) {
      guard let name = curve.name, names.insert(name).inserted else { continue }
      let y = 68.0
      if curve.style != .points {
        let dash = curve.style == .dashed ? " stroke-dasharray=\"5 3\"" : ""
        text +=
          "<path d=\"M\(pixels(x)) \(pixels(y - 4))h24\" stroke=\"\(curve.color.rawValue)\" "
          + "stroke-width=\"2.5\"\(dash)/>"
      }
      if curve.style == .points || curve.style == .marked {
        text += disk(x + 12, y - 4, curve.color)
      }
      text += "<text x=\"\(pixels(x + 30))\" y=\"\(pixels(y))\">\(escaped(name))</text>"
      x += 30 + 6.1 * Double(name.count) + 22
    }
    return text
  }
}

extension Panel {
  /// The panel with the upper left corner of its plot at (0, 0).
  fileprivate func svg(number: Int) -> String {
    let points = curves.flatMap(\.points)
    let xScale = Scale(x, values: points.map(\.x))
    let yScale = Scale(y, values: points.flatMap { [$0.y, $0.y + $0.error, $0.y - $0.error] })
    let (width, height) = (Layout.plotWidth, Layout.plotHeight)
    var text =
      "<clipPath id=\"plot\(number)\"><rect width=\"\(pixels(width))\" height=\"\(pixels(height))\"/></clipPath>\n"
    text += "<text x=\"0\" y=\"-11\" font-size=\"13\" font-weight=\"bold\">\(escaped(title))</text>\n"
    for tick in yScale.ticks {
      let place = height * (1 - yScale.place(tick.value))
      text += "<path d=\"M0 \(pixels(place))h\(pixels(width))\" stroke=\"#e6e6e6\"/>"
      text += "<text x=\"-7\" y=\"\(pixels(place + 4))\" text-anchor=\"end\">\(tick.label)</text>\n"
    }
    for tick in xScale.ticks {
      let place = width * xScale.place(tick.value)
      text += "<path d=\"M\(pixels(place)) 0v\(pixels(height + 4))\" stroke=\"#e6e6e6\"/>"
      text +=
        "<text x=\"\(pixels(place))\" y=\"\(pixels(height + 17))\" text-anchor=\"middle\">\(tick.label)</text>\n"
    }
    text += "<path d=\"M0 0V\(pixels(height))H\(pixels(width))\" fill=\"none\" stroke=\"#888\"/>\n"
    text +=
      "<text x=\"\(pixels(width / 2))\" y=\"\(pixels(height + 36))\" text-anchor=\"middle\" fill=\"#555\">"
      + "\(escaped(x.title))</text>\n"
    text +=
      "<text transform=\"translate(-47 \(pixels(height / 2))) rotate(-90)\" text-anchor=\"middle\" "
      + "fill=\"#555\">\(escaped(y.title))</text>\n"
    text += "<g clip-path=\"url(#plot\(number))\">\n"
    let frame = Frame(x: xScale, y: yScale)
    for curve in curves { text += frame.band(curve) }
    for curve in curves { text += frame.line(curve) }
    return text + "</g>\n"
  }
}

/// Draws curves between two scales.
private struct Frame {
  let x: Scale
  let y: Scale

  private func place(_ xValue: Double, _ yValue: Double) -> String {
    // What lies far outside is cut off by the plot's frame; viewers dislike very large numbers.
    let vertical = Layout.plotHeight * min(max(1 - y.place(yValue), -3), 4)
    return "\(pixels(Layout.plotWidth * x.place(xValue))) \(pixels(vertical))"
  }

  /// The errors as a shaded band.
  func band(_ curve: Curve) -> String {
    guard curve.style != .points, curve.points.contains(where: { $0.error > 0 }) else { return "" }
    let above = curve.points.map { place($0.x, $0.y + $0.error) }
    let below = curve.points.reversed().map { place($0.x, $0.y - $0.error) }
    return "<path d=\"M\((above + below).joined(separator: "L"))Z\" fill=\"\(curve.color.rawValue)\" "
      + "fill-opacity=\"\(pixels(0.2 * curve.opacity, decimals: 2))\"/>\n"
  }

  /// The points, and the line through them.
  func line(_ curve: Curve) -> String {
    let points = curve.points.filter { $0.y.isFinite }
    guard !points.isEmpty else { return "" }
    var text = ""
    if curve.style != .points {
      let dash = curve.style == .dashed ? " stroke-dasharray=\"5 3\"" : ""
      text +=
        "<path d=\"M\(points.map { place($0.x, $0.y) }.joined(separator: "L"))\" fill=\"none\" "
        + "stroke=\"\(curve.color.rawValue)\" stroke-width=\"\(pixels(curve.width))\" "
        + "stroke-opacity=\"\(pixels(curve.opacity, decimals: 2))\" stroke-linejoin=\"round\"\(dash)/>\n"
    }
    if curve.style == .points || curve.style == .marked {
      for point in points {
        text += disk(
          Layout.plotWidth * x.place(point.x), Layout.plotHeight * (1 - y.place(point.y)), curve.color)
      }
      text += "\n"
    }
    return text
  }
}

private func disk(_ x: Double, _ y: Double, _ color: Color) -> String {
  "<circle cx=\"\(pixels(x))\" cy=\"\(pixels(y))\" r=\"3.2\" fill=\"\(color.rawValue)\" stroke=\"#fff\"/>"
}

private func pixels(_ value: Double, decimals: Int = 1) -> String {
  String(format: "%.\(decimals)f", value)
}

private func escaped(_ text: String) -> String {
  text.replacing("&", with: "&amp;").replacing("<", with: "&lt;")
}
