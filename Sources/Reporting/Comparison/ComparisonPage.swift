import Foundation
import Platform

/// The page of a comparison: one table and the curves of all runs, in one self-contained file.
extension Comparison {
  /// Writes the page at `path`.
  package func writePage(to path: String) throws {
    try AtomicFile.write(html(time: Date()), toOutput: path, beginning: HTMLPage.beginning)
  }

  func html(time: Date) -> String {
    let runCount = rows.reduce(0) { $0 + $1.runs.count }
    let title = "Comparison of \(runCount) \(runCount == 1 ? "run" : "runs")"
    return HTMLPage.document(
      title: title,
      body: """
        <h1>\(title)</h1>
        <div class="soft lead">\(escaped(summary))</div>
        \(caveats.map { "<p class=\"soft lead\">Note: \(escaped($0)).</p>" }.joined())
        <div class="charts">
        <section class="card wide"><h2>Runs</h2><div class="scroll"><table>\(tableRows)</table></div></section>
        \(ComparisonCharts(rows).all.map(\.html).joined())
        </div>
        <footer class="soft">Runs that differ in training.seed alone are averaged; ± and bands are the standard error \
        of the mean. The first steps may lie above the plots; time is that of training as a whole. Written by milm, \(time.formatted(.iso8601)).</footer>
        """)
  }

  private var summary: String {
    guard let best = rows.first, let valid = best.bestValid else { return "no evaluation yet" }
    return "lowest validation perplexity \(valid.text(Self.perplexity)): \(best.name)"
  }

  private var tableRows: String {
    let columns = columns
    func cells(_ tag: String, _ texts: [String]) -> String {
      zip(columns, texts).map { column, text in
        "<\(tag)\(column.isNumber ? " class=\"number\"" : "")>\(text)</\(tag)>"
      }.joined()
    }
    let header = "<tr>\(cells("th", columns.map { escaped($0.title) }))</tr>"
    return header
      + rows.indices.map { index in
        let look = ComparisonCharts.look(ofRow: index) ?? (.grey, false)
        var texts = columns.map { escaped($0.text(rows[index])) }
        texts[0] = "<i class=\"\(look.color)\(look.isDashed ? " dashed" : "")\"></i>" + texts[0]
        return "<tr>\(cells("td", texts))</tr>"
      }.joined(separator: "\n")
  }
}
