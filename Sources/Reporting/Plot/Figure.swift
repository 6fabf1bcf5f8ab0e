/// Plots side by side under one title and one legend, as an SVG picture.
package struct Figure: Sendable {
  private let title: String
  private let subtitle: String
  private let columnCount: Int
  private let plots: [Plot]

  /// `subtitle` says in one line what a reader needs to know; the legend names each curve once for all plots.
  package init(title: String, subtitle: String, columnCount: Int, plots: [Plot]) {
    self.title = title
    self.subtitle = subtitle
    self.columnCount = columnCount
    self.plots = plots
  }

  /// Lengths in pixels.
  private enum Layout {
    static let plotWidth = 268.0
    static let plotHeight = 196.0
    static let left = 62.0
    static let right = 18.0
    static let top = 34.0
    static let bottom = 50.0
    static let header = 84.0
    static let margin = 12.0
    static let minimumWidth = 680.0
    static var panelWidth: Double { left + plotWidth + right }
    static var panelHeight: Double { top + plotHeight + bottom }
  }

  /// The whole file.
  package var svg: String {
    let rowCount = (plots.count + columnCount - 1) / columnCount
    let panelsWidth = Double(min(columnCount, plots.count)) * Layout.panelWidth
    // Letter widths depend on the viewer's font; these fit common ones.
    let textWidth = max(5.7 * Double(subtitle.count), 9.2 * Double(title.count)) + 16
    let width = max(panelsWidth, textWidth, Layout.minimumWidth) + 2 * Layout.margin
    let height = Layout.header + Double(rowCount) * Layout.panelHeight + Layout.margin
    var text = """
      <svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 \(pixels(width)) \(pixels(height))" \
      font-family="Helvetica, Arial, sans-serif" font-size="11.5" fill="#333">
      <rect width="\(pixels(width))" height="\(pixels(height))" fill="#fff"/>
      <text x="\(pixels(Layout.margin + 8))" y="27" font-size="17" font-weight="bold" fill="#111">\(escaped(title))</text>
      <text x="\(pixels(Layout.margin + 8))" y="46" fill="#666">\(escaped(subtitle))</text>
      \(legend)

      """
    for (index, plot) in plots.enumerated() {
      let x = Layout.margin + Double(index % columnCount) * Layout.panelWidth + Layout.left
      let y = Layout.header + Double(index / columnCount) * Layout.panelHeight + Layout.top
      text += "<g transform=\"translate(\(pixels(x)) \(pixels(y)))\">\n\(panel(plot))</g>\n"
    }
    return text + "</svg>\n"
  }

  private var legend: String {
    let y = 68.0
    var x = Layout.margin + 8
    var names: Set<String> = []
    var text = ""
    for curve in plots.flatMap(\.curves) {
      guard let name = curve.name, names.insert(name).inserted else { continue }
      switch curve.style {
      case .line, .dashed, .marked, .area:
        text += "<path d=\"M\(pixels(x)) \(pixels(y - 4))h24\" \(stroke(curve, width: 2.5))/>"
      case .dots: break
      }
      if curve.style == .dots || curve.style == .marked {
        text += dot(pixels(x + 12), pixels(y - 4), curve.color)
      }
      text += "<text x=\"\(pixels(x + 30))\" y=\"\(pixels(y))\">\(escaped(name))</text>"
      x += 30 + 6.1 * Double(name.count) + 22
    }
    return text
  }

  /// A plot with its axes; the upper left corner of its canvas is at (0, 0).
  private func panel(_ plot: Plot) -> String {
    let (width, height) = (Layout.plotWidth, Layout.plotHeight)
    var text = "<text x=\"0\" y=\"-11\" font-size=\"13\" font-weight=\"bold\">\(escaped(plot.title))</text>\n"
    for tick in plot.y.ticks {
      let y = height * (1 - plot.y.position(of: tick.value))
      text += "<path d=\"M0 \(pixels(y))h\(pixels(width))\" stroke=\"#e6e6e6\"/>"
      text += "<text x=\"-7\" y=\"\(pixels(y + 4))\" text-anchor=\"end\">\(tick.label)</text>\n"
    }
    for tick in plot.x.ticks {
      let x = pixels(width * plot.x.position(of: tick.value))
      text += "<path d=\"M\(x) 0v\(pixels(height + 4))\" stroke=\"#e6e6e6\"/>"
      text += "<text x=\"\(x)\" y=\"\(pixels(height + 17))\" text-anchor=\"middle\">\(tick.label)</text>\n"
    }
    text += "<path d=\"M0 0V\(pixels(height))H\(pixels(width))\" fill=\"none\" stroke=\"#888\"/>\n"
    text +=
      "<text x=\"\(pixels(width / 2))\" y=\"\(pixels(height + 36))\" text-anchor=\"middle\" fill=\"#555\">"
      + "\(escaped(plot.x.title))</text>\n"
    text +=
      "<text transform=\"translate(-47 \(pixels(height / 2))) rotate(-90)\" text-anchor=\"middle\" "
      + "fill=\"#555\">\(escaped(plot.y.title))</text>\n"
    for (curve, shape) in plot.shapes(width: width, height: height, decimals: 1) {
      text += drawing(shape, of: curve) + "\n"
    }
    return text
  }

  private func drawing(_ shape: PlotShape, of curve: Curve) -> String {
    switch shape {
    case .band(let path):
      "<path d=\"\(path)\" fill=\"\(curve.color.onWhite)\" fill-opacity=\"\(opacity(0.2 * curve.opacity))\"/>"
    case .area(let path):
      "<path d=\"\(path)\" fill=\"\(curve.color.onWhite)\" fill-opacity=\"\(opacity(curve.opacity))\"/>"
    case .line(let path):
      "<path d=\"\(path)\" fill=\"none\" \(stroke(curve, width: curve.width)) "
        + "stroke-opacity=\"\(opacity(curve.opacity))\" stroke-linejoin=\"round\"/>"
    case .dots(let places): places.map { dot($0.x, $0.y, curve.color) }.joined()
    }
  }

  private func stroke(_ curve: Curve, width: Double) -> String {
    "stroke=\"\(curve.color.onWhite)\" stroke-width=\"\(pixels(width))\""
      + (curve.style == .dashed ? " stroke-dasharray=\"5 3\"" : "")
  }

  private func dot(_ x: String, _ y: String, _ color: Color) -> String {
    "<circle cx=\"\(x)\" cy=\"\(y)\" r=\"3.2\" fill=\"\(color.onWhite)\" stroke=\"#fff\"/>"
  }

  private func pixels(_ value: Double) -> String { coordinateText(value, decimals: 1) }
  private func opacity(_ value: Double) -> String { coordinateText(value, decimals: 2) }
}
