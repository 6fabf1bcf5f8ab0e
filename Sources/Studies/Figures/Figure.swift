/// Panels of curves under one title and one legend, as an SVG picture.
struct Figure: Sendable {
  /// What it shows, in one line.
  let title: String
  /// What a reader must know to read it, in one line.
  let subtitle: String
  /// How many panels stand side by side.
  let columnCount: Int
  /// The panels, row after row.
  let panels: [Panel]
}

/// One pair of axes with its curves.
struct Panel: Sendable {
  let title: String
  let x: Axis
  let y: Axis
  let curves: [Curve]
}

/// One direction of a panel.
struct Axis: Sendable {
  /// What is on it, with its unit.
  let title: String
  /// Whether a factor, rather than a difference, is the same length everywhere.
  let isLogarithmic: Bool
  /// From where to where, where the values themselves shall not say.
  let range: ClosedRange<Double>?

  init(_ title: String, isLogarithmic: Bool = false, range: ClosedRange<Double>? = nil) {
    self.title = title
    self.isLogarithmic = isLogarithmic
    self.range = range
  }
}

/// Points of one kind, which the legend names once for all panels.
struct Curve: Sendable {
  /// A place, and how far above and below it the truth may lie.
  struct Point: Sendable {
    let x: Double
    let y: Double
    let error: Double

    init(_ x: Double, _ y: Double, error: Double = 0) {
      self.x = x
      self.y = y
      self.error = error
    }
  }

  /// How the points are drawn.
  enum Style: Sendable {
    /// A line, with a band where there are errors.
    case line
    /// A broken line.
    case dashed
    /// A line with a disk at each point.
    case marked
    /// Disks alone.
    case points
  }

  /// The name in the legend; nil where an earlier curve has said it.
  let name: String?
  let color: Color
  var style = Style.line
  /// How wide a line is, in pixels.
  var width = 2.0
  var opacity = 1.0
  let points: [Point]
}

/// Colours that also colour-blind readers tell apart (Okabe & Ito 2008).
enum Color: String, Sendable {
  case blue = "#0072b2"
  case vermilion = "#d55e00"
  case green = "#009e73"
  case purple = "#aa4499"
  case orange = "#e69f00"
  case gray = "#767676"
  case black = "#222222"
}
