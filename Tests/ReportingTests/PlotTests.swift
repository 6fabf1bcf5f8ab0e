import Foundation
import Reporting
import Testing

struct PlotTests {
  private func svg(_ curves: [Curve], isLogarithmic: Bool = false) -> String {
    Figure(
      title: "a <b>", subtitle: "", columnCount: 1,
      plots: [Plot(title: "", x: "x", y: "y", isLogarithmic: isLogarithmic, curves: curves)]
    ).svg
  }

  private func curve(_ values: [Double?], style: Curve.Style = .line) -> Curve {
    Curve(
      name: "c", color: .blue, style: style,
      points: values.enumerated().map { Curve.Point(Double($0), $1) })
  }

  private func labels(_ svg: String) -> [String] {
    svg.matches(of: /text-anchor="(?:end|middle)">([^<]*)</).map { String($0.1) }
  }

  /// The path data of the line of the first curve.
  private func line(_ svg: String) throws -> String {
    let match = try #require(svg.firstMatch(of: /d="([^"]*)" fill="none" stroke="#2b6bd8"/))
    return String(match.1)
  }

  @Test func aLinearAxisEndsAtRoundValuesAroundItsCurves() throws {
    let svg = svg([curve([-0.9, 3.1])])
    #expect(labels(svg) == ["−1", "0", "1", "2", "3", "4", "0", "0.2", "0.4", "0.6", "0.8", "1.0"])
    // x from 0 to 268, y from 196 (−1) to 0 (4).
    #expect(try line(svg) == "M0.0 192.1L268.0 35.3")
  }

  @Test func aLogarithmicAxisHasAFewTicksOverManyDecades() {
    let svg = svg([curve([1e-16, 1])], isLogarithmic: true)
    #expect(
      labels(svg).prefix(9) == ["10⁻¹⁶", "10⁻¹⁴", "10⁻¹²", "10⁻¹⁰", "10⁻⁸", "10⁻⁶", "10⁻⁴", "0.01", "1"])
  }

  @Test func aLineBreaksWhereThereIsNoValue() throws {
    let broken = try line(svg([curve([0, 1, nil, 1, .nan, 0])]))
    #expect(broken.count { $0 == "M" } == 3 && broken.count { $0 == "L" } == 1)
  }

  @Test func aBandIncludesPointsWithoutError() throws {
    let points = [(0.0, 0.5), (1.0, 0), (2.0, 0.5)].map { Curve.Point($0.0, 1, error: $0.1) }
    let text = svg([Curve(color: .blue, points: points)])
    let band = try #require(text.firstMatch(of: /d="([^"]*)" fill="#2b6bd8" fill-opacity="0.20"/))
    #expect(band.1.count { $0 == "L" || $0 == "M" } == 6)
    #expect(!svg([curve([1, 2])]).contains("fill-opacity"))
  }

  @Test(
    arguments: [[], [nil], [.nan], [.infinity, 1], [0, 0], [-1e300, 1e300]] as [[Double?]], [true, false])
  func anyValuesGiveAFiniteFigure(values: [Double?], isLogarithmic: Bool) {
    for style in [Curve.Style.line, .dashed, .marked, .dots, .area] {
      let text = svg([curve(values, style: style)], isLogarithmic: isLogarithmic)
      #expect(!text.contains("nan") && !text.contains("inf"), "\(style)")
      #expect(text.contains("a &lt;b&gt;"))
    }
  }
}
