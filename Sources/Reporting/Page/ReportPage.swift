import Foundation

/// `report.html`: the curves and the summary of a run in one self-contained file without network access or scripts.
struct ReportPage {
  private let history: RunHistory
  private let title: String
  private let configuration: String
  private let time: Date

  init(_ history: RunHistory, title: String, configuration: String, time: Date) {
    self.history = history
    self.title = title
    self.configuration = configuration
    self.time = time
  }

  /// The whole file.
  var html: String {
    HTMLPage.document(
      title: title,
      body: """
        \(heading)
        \(tiles)
        <div class="charts">
        \(RunCharts(history).all.map(\.html).joined())\(summary)
        </div>
        <footer class="soft">Bands span the lowest to the highest report of the steps that a point represents; \
        dashed lines are restarts; the first steps of a long run may lie above the plot. \
        Written by milm, \(time.formatted(.iso8601)).</footer>
        """)
  }

  private var heading: String {
    let step = history.latest?.step ?? 0
    let lastStep = max(history.sessions.last?.lastStep ?? step, step)
    var parts = ["step \(Readable.grouped(step)) of \(Readable.grouped(lastStep))"]
    if let epoch = history.latest?.number("epoch"), epoch.isFinite {
      parts.append(String(format: "%.2f epochs", epoch))
    }
    if let seconds = history.whole?.seconds { parts.append(Readable.duration(seconds: seconds)) }
    let fraction = Double(step) / Double(max(lastStep, 1))
    return """
      <h1>\(escaped(title))</h1>
      <div class="soft">\(parts.joined(separator: " · "))</div>
      <div class="progress"><i style="width:\(String(format: "%.1f", fraction * 100))%"></i></div>
      """
  }

  private var tiles: String {
    var tiles: [(value: String, name: String)] = []
    if let best = history.best {
      tiles.append(
        (
          Readable.number(best.perplexity),
          "best perplexity, \(best.split ?? ""), step \(Readable.grouped(best.step))"
        ))
    }
    if let loss = history.points.last?["loss"].mean {
      tiles.append((Readable.number(exp(loss)), "training perplexity"))
    }
    if let speed = history.whole?.tokensPerSecond { tiles.append((Readable.count(speed), "tokens/s")) }
    if let whole = history.whole, whole.seconds > 0 {
      tiles.append(
        (Readable.precisePercent(whole.timeFractions.exposed), "of the time is exposed communication"))
    }
    if let whole = history.whole, whole.wireByteCount > 0 {
      let ratio = Double(whole.rawByteCount) / Double(whole.wireByteCount)
      let saved = Readable.byteCount(whole.rawByteCount - whole.wireByteCount)
      tiles.append((String(format: "÷ %.1f", ratio), "bytes exchanged, \(saved) saved"))
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
        ("model", "\(session.model), \(Readable.grouped(session.parameters)) parameters"),
        ("vocabulary", "\(Readable.grouped(session.vocabulary)) tokens"),
        ("ranks", "\(session.ranks) on \(session.hosts) \(session.hosts == 1 ? "host" : "hosts")"),
        ("engine", session.engine), ("processor", session.processor),
        ("version", "milm \(session.version)"),
      ]
    }
    if let latest = history.latest {
      facts.append(("tokens read", Readable.grouped(latest.tokens)))
      facts.append(("codec", latest.text("codec")))
      facts.append(("skipped steps", Readable.grouped(latest.integer("skippedSteps"))))
    }
    if let whole = history.whole, whole.rawByteCount > 0 {
      facts.append(
        (
          "exchange",
          "rank 0 sent \(Readable.byteCount(whole.wireByteCount)), "
            + "\(Readable.byteCount(whole.rawByteCount)) as fp32, in "
            + "\(Readable.duration(seconds: whole.exchangeSeconds)), of which "
            + "\(Readable.duration(seconds: whole.exposedSeconds)) were exposed"
        ))
    } else {
      facts.append(("exchange", "nothing sent between nodes"))
    }
    facts.append(("started", history.sessions.first?.time ?? "not recorded"))
    let restarts = history.sessions.filter { $0.beginning != .begun }.map { session in
      "\(session.beginning == .returned ? "rolled back to" : "at") step \(Readable.grouped(session.step))"
    }
    facts.append(("restarts", restarts.isEmpty ? "none" : restarts.joined(separator: ", ")))
    return facts
  }
}
