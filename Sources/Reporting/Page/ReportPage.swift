import Foundation

/// `report.html`: curves and summary of a run in one file that needs nothing else, no network and no script.
struct ReportPage {
  private let history: RunHistory
  private let title: String
  private let configuration: String
  private let time: Date

  /// The page of a run called `title`, as it is at `time`.
  init(_ history: RunHistory, title: String, configuration: String, time: Date) {
    self.history = history
    self.title = title
    self.configuration = configuration
    self.time = time
  }

  /// The whole file.
  var html: String {
    """
    <!DOCTYPE html>
    <html lang="en">
    <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <title>\(escaped(title)) · milm</title>
    <style>
    \(PageStyle.sheet)
    </style>
    </head>
    <body>
    <main>
    \(heading)
    \(tiles)
    <div class="charts">
    \(RunCharts(history).all.map(\.html).joined())\(summary)
    </div>
    <footer class="soft">Bands reach from the lowest to the highest report of the steps a point stands for; \
    dashed lines are restarts; of a long run the first steps may lie above the picture. Written by milm, \(time.formatted(.iso8601)).</footer>
    </main>
    </body>
    </html>

    """
  }

  private var heading: String {
    let step = history.latest?.step ?? 0
    let lastStep = max(history.sessions.last?.lastStep ?? step, step)
    var parts = ["step \(Figure.grouped(step)) of \(Figure.grouped(lastStep))"]
    if let latest = history.latest { parts.append(String(format: "%.2f epochs", latest.epoch)) }
    if let seconds = history.whole?.seconds { parts.append(Readable.duration(seconds: seconds)) }
    let share = Double(step) / Double(max(lastStep, 1))
    return """
      <h1>\(escaped(title))</h1>
      <div class="soft">\(parts.joined(separator: " · "))</div>
      <div class="progress"><i style="width:\(String(format: "%.1f", share * 100))%"></i></div>
      """
  }

  private var tiles: String {
    var tiles: [(value: String, name: String)] = []
    if let best = history.best {
      tiles.append(
        (Figure.short(best.perplexity), "best perplexity, \(best.split), step \(Figure.grouped(best.step))"))
    }
    if let loss = history.points.last?.loss.mean {
      tiles.append((Figure.short(exp(loss)), "perplexity in training"))
    }
    if let speed = history.whole?.tokensPerSecond { tiles.append((Readable.count(speed), "tokens a second")) }
    if let whole = history.whole, whole.seconds > 0 {
      tiles.append((Figure.percent(TimeShares(whole).exposed), "of the time spent waiting for the exchange"))
    }
    if let whole = history.whole, whole.wireByteCount > 0 {
      let ratio = Double(whole.rawByteCount) / Double(whole.wireByteCount)
      let saved = Readable.byteCount(whole.rawByteCount - whole.wireByteCount)
      tiles.append((String(format: "÷ %.1f", ratio), "bytes of the exchange, \(saved) saved"))
    }
    let cards = tiles.map {
      "<div class=\"tile\"><b>\(escaped($0.value))</b><span class=\"soft\">\(escaped($0.name))</span></div>"
    }
    return "<div class=\"tiles\">\(cards.joined())</div>"
  }

  private var summary: String {
    let rows = facts.map { "<dt>\(escaped($0.name))</dt><dd>\(escaped($0.value))</dd>" }
    return """
      <section class="card wide"><h2>Summary</h2><dl>\(rows.joined())</dl></section>
      <section class="card wide"><details><summary>Configuration</summary>\
      <pre>\(escaped(configuration))</pre></details></section>
      """
  }

  private var facts: [(name: String, value: String)] {
    var facts: [(name: String, value: String)] = []
    if let session = history.sessions.last {
      facts += [
        ("model", "\(session.model), \(Figure.grouped(session.parameters)) parameters"),
        ("vocabulary", "\(Figure.grouped(session.vocabulary)) words"),
        ("ranks", "\(session.ranks) on \(session.hosts) \(session.hosts == 1 ? "host" : "hosts")"),
        ("engine", session.engine), ("processor", session.processor),
        ("program", "milm \(session.version)"),
      ]
    }
    if let latest = history.latest {
      facts.append(("read", "\(Figure.grouped(latest.tokens)) tokens"))
      facts.append(("codec", latest.codec))
      facts.append(("skipped steps", Figure.grouped(latest.skippedSteps)))
    }
    if let whole = history.whole, whole.rawByteCount > 0 {
      facts.append(
        (
          "exchange",
          "\(Readable.byteCount(whole.wireByteCount)) sent by rank 0 for \(Readable.byteCount(whole.rawByteCount)) "
            + "of fp32, \(Readable.duration(seconds: whole.exchangeSeconds)) of which "
            + "\(Readable.duration(seconds: whole.exposedSeconds)) were waited for"
        ))
    } else {
      facts.append(("exchange", "nothing was sent between nodes"))
    }
    facts.append(("begun", history.sessions.first?.time ?? "not recorded"))
    let restarts = history.sessions.filter { $0.beginning != .begun }.map { session in
      "\(session.beginning == .returned ? "gone back to" : "at") step \(Figure.grouped(session.step))"
    }
    facts.append(("restarts", restarts.isEmpty ? "none" : restarts.joined(separator: ", ")))
    return facts
  }
}
