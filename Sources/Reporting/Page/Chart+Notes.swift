/// Where the notes of a chart are.
extension Chart {
  /// The size of a note and its distance from its point, as fractions of a plot on a phone, where they are largest.
  private enum NoteSize {
    static let width = 0.19
    static let height = 0.06
    static let distance = 0.02
  }

  /// The note above its point or, where a curve is there, below it; nil where one is at both.
  func label(_ note: Note) -> String? {
    let place = x.position(of: note.x)
    let height = values.position(of: note.value)
    let side = place < 0.1 ? " first" : place > 0.9 ? " last" : ""
    let start = side == " first" ? place : place - NoteSize.width * (side == " last" ? 1 : 0.5)
    let sides = start...start + NoteSize.width
    let above = height + NoteSize.distance
    let below = height - NoteSize.distance - NoteSize.height
    let isAbove = isFree(sides, above...above + NoteSize.height)
    guard isAbove || isFree(sides, below...below + NoteSize.height) else { return nil }
    return "<span class=\"note\(side)\(isAbove ? "" : " below")\" style=\"left:\(percent(place));"
      + "bottom:\(percent(height))\">\(escaped(note.text))</span>"
  }

  /// Whether no line passes a rectangle of the plot, which begins at the lower left.
  private func isFree(_ sides: ClosedRange<Double>, _ heights: ClosedRange<Double>) -> Bool {
    // Labels of the axis are below the plot.
    guard heights.lowerBound >= 0 else { return false }
    return !curves.contains { curve in
      guard curve.style != .area else { return false }
      let places = curve.points.compactMap { point in
        point.y.map { (x: x.position(of: point.x), y: values.position(of: $0)) }
      }
      return zip(places, places.dropFirst()).contains { passes($0, $1, sides, heights) }
    }
  }

  private func passes(
    _ start: (x: Double, y: Double), _ end: (x: Double, y: Double), _ sides: ClosedRange<Double>,
    _ heights: ClosedRange<Double>
  ) -> Bool {
    let (low, high) = (max(start.x, sides.lowerBound), min(end.x, sides.upperBound))
    guard low <= high, end.x > start.x, start.y.isFinite, end.y.isFinite else { return false }
    let slope = (end.y - start.y) / (end.x - start.x)
    let (first, last) = (start.y + slope * (low - start.x), start.y + slope * (high - start.x))
    return max(first, last) >= heights.lowerBound && min(first, last) <= heights.upperBound
  }
}
