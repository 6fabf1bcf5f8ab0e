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

  /// The first bytes of every report and of no other file.
  static let beginning = """
    <!DOCTYPE html>
    <html lang="en">
    <head>
    <meta name="generator" content="milm">

    """

  /// The whole file.
  var html: String {
    """
    \(Self.beginning)<meta charset="utf-8">
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
    <footer class="soft">Bands span the lowest to the highest report of the steps that a point represents; \
    dashed lines are restarts; the first steps of a long run may lie above the plot. \
    Written by milm, \(time.formatted(.iso8601)).</footer>
    </main>
    </body>
    </html>

    """
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

/// The style sheet: for phones and wide screens, light and dark.
enum PageStyle {
  private static func variables(_ value: (Color) -> String) -> String {
    Color.allCases.map { "--\($0): \(value($0));" }.joined(separator: " ")
  }

  static let sheet = """
    :root { color-scheme: light dark; --page: #f5f4f0; --card: #ffffff; --ink: #1f1d1a; --soft: #6a655d;
      --edge: #e3e0d9; --grid: #ece9e3; \(variables(\.onWhite)) }
    @media (prefers-color-scheme: dark) { :root { --page: #0f1115; --card: #181b21; --ink: #ebe8e3; --soft: #a09b93;
      --edge: #2b2f37; --grid: #272b33; \(variables(\.onDark)) } }
    * { box-sizing: border-box; }
    body { margin: 0; background: var(--page); color: var(--ink);
      font: 15px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
    main { max-width: 1180px; margin: 0 auto; padding: 22px 16px 40px; }
    h1 { font-size: 24px; line-height: 1.2; margin: 0; overflow-wrap: anywhere; }
    h2 { font-size: 15px; margin: 0; }
    small, .soft { color: var(--soft); font-weight: 400; font-size: 13px; }
    .progress { height: 6px; border-radius: 3px; background: var(--edge); margin: 12px 0 16px; overflow: hidden; }
    .progress i { display: block; height: 100%; background: var(--blue); }
    .tiles, .charts { display: grid; gap: 12px; }
    .tiles { grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); margin-bottom: 12px; }
    .charts { grid-template-columns: repeat(auto-fit, minmax(min(100%, 440px), 1fr)); }
    .card, .tile { background: var(--card); border: 1px solid var(--edge); border-radius: 10px; padding: 14px; min-width: 0; }
    .wide { grid-column: 1 / -1; }
    .tile b { display: block; font-size: 22px; line-height: 1.25; font-variant-numeric: tabular-nums; }
    .tile span { display: block; text-wrap: balance; }
    @media (max-width: 520px) { .tile:last-child:nth-child(odd) { grid-column: 1 / -1; } }
    .legend { list-style: none; margin: 4px 0 12px; padding: 0; display: flex; flex-wrap: wrap; gap: 2px 16px;
      font-size: 13px; color: var(--soft); min-height: 1.45em; }
    .legend li::before { content: ""; display: inline-block; width: 10px; height: 10px; border-radius: 3px;
      background: var(--color); margin-right: 6px; }
    .legend b { color: var(--ink); font-variant-numeric: tabular-nums; }
    \(Color.allCases.map { ".\($0) { --color: var(--\($0)); }" }.joined(separator: " "))
    .frame { display: grid; grid-template-columns: 44px 1fr; grid-template-rows: 200px 22px;
      font-size: 12px; color: var(--soft); font-variant-numeric: tabular-nums; }
    .wide .frame { grid-template-rows: 280px 22px; }
    .y, .x, .plot { position: relative; }
    .x { grid-column: 2; }
    .y span, .x span, .note { position: absolute; white-space: nowrap; line-height: 1; }
    .y span { right: 8px; transform: translateY(50%); }
    .x span { top: 8px; transform: translateX(-50%); }
    .x .first { transform: none; } .x .last { transform: translateX(-100%); }
    .plot svg { position: absolute; inset: 0; width: 100%; height: 100%; overflow: visible; }
    .plot path { vector-effect: non-scaling-stroke; fill: none; }
    .plot .grid { stroke: var(--grid); } .plot .mark { stroke: var(--soft); stroke-dasharray: 2 4; }
    .plot .line { stroke: var(--color); stroke-width: 1.8; stroke-linejoin: round; }
    .plot .area { fill: var(--color); } .plot .band { fill: var(--color); fill-opacity: .18; }
    .plot .dots { stroke: var(--color); stroke-width: 7; stroke-linecap: round; }
    .note { transform: translate(-50%, -9px); color: var(--orange); font-weight: 600; pointer-events: none; }
    .note.first { transform: translateY(-9px); } .note.last { transform: translate(-100%, -9px); }
    .zone { position: absolute; top: 0; bottom: 0; }
    .zone p { display: none; position: absolute; z-index: 1; top: 4px; left: calc(var(--at) + 8px); margin: 0;
      padding: 6px 9px; white-space: nowrap; color: var(--ink); background: var(--card); border: 1px solid var(--edge);
      border-radius: 6px; box-shadow: 0 2px 8px #0003; line-height: 1.5; pointer-events: none; }
    .zone.left p { left: auto; right: calc(100% - var(--at) + 8px); }
    .zone:hover p { display: block; }
    .zone:hover::before { content: ""; position: absolute; top: 0; bottom: 0; left: var(--at); border-left: 1px solid var(--soft); }
    dl { display: grid; grid-template-columns: max-content 1fr; gap: 4px 18px; margin: 10px 0 0; }
    dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
    summary { cursor: pointer; font-weight: 600; }
    pre { overflow-x: auto; font-size: 12.5px; line-height: 1.5; margin: 10px 0 0; }
    footer { margin-top: 16px; }
    """
}
