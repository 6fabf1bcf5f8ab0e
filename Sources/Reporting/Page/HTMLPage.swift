/// What all pages share: a self-contained document for phones and wide screens, light and dark.
enum HTMLPage {
  /// What no other file begins with.
  static let beginning = """
    <!DOCTYPE html>
    <html lang="en">
    <head>
    <meta name="generator" content="milm">

    """

  /// The whole file.
  static func document(title: String, body: String) -> String {
    """
    \(beginning)<meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <title>\(escaped(title)) · milm</title>
    <style>
    \(sheet)
    </style>
    </head>
    <body>
    <main>
    \(body)
    </main>
    </body>
    </html>

    """
  }

  private static func variables(_ value: (Color) -> String) -> String {
    Color.allCases.map { "--\($0): \(value($0));" }.joined(separator: " ")
  }

  private static let sheet = """
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
    .lead { margin: 4px 0 14px; }
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
    .plot .dashed { stroke-dasharray: 6 3; }
    .plot .area { fill: var(--color); } .plot .band { fill: var(--color); fill-opacity: .18; }
    .plot .dots { stroke: var(--color); stroke-width: 7; stroke-linecap: round; }
    .note { transform: translate(var(--dx, -50%), var(--dy, -9px)); color: var(--orange); font-weight: 600;
      pointer-events: none; }
    .note.first { --dx: 0; } .note.last { --dx: -100%; } .note.below { --dy: calc(100% + 9px); }
    .zone { position: absolute; top: 0; bottom: 0; }
    .zone p { display: none; position: absolute; z-index: 1; top: 4px; left: calc(var(--at) + 8px); margin: 0;
      padding: 6px 9px; white-space: nowrap; color: var(--ink); background: var(--card); border: 1px solid var(--edge);
      border-radius: 6px; box-shadow: 0 2px 8px #0003; line-height: 1.5; pointer-events: none; }
    .zone.left p { left: auto; right: calc(100% - var(--at) + 8px); }
    .zone:hover p { display: block; }
    .zone:hover::before { content: ""; position: absolute; top: 0; bottom: 0; left: var(--at); border-left: 1px solid var(--soft); }
    .zone i, td i { display: inline-block; width: 9px; height: 9px; border-radius: 3px; background: var(--color);
      margin-right: 6px; }
    .legend .dashed::before, i.dashed {
      background: repeating-linear-gradient(90deg, var(--color) 0 4px, transparent 4px 6px); }
    .scroll { overflow-x: auto; margin-top: 8px; }
    table { border-collapse: collapse; width: 100%; font-size: 13px; font-variant-numeric: tabular-nums; }
    th, td { text-align: left; padding: 6px 14px 6px 0; border-bottom: 1px solid var(--edge); white-space: nowrap; }
    th { color: var(--soft); font-weight: 500; } tr:last-child td { border-bottom: 0; }
    .number { text-align: right; } th:last-child, td:last-child { padding-right: 0; }
    dl { display: grid; grid-template-columns: max-content 1fr; gap: 4px 18px; margin: 10px 0 0; }
    dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
    summary { cursor: pointer; font-weight: 600; }
    pre { overflow-x: auto; font-size: 12.5px; line-height: 1.5; margin: 10px 0 0; }
    footer { margin-top: 16px; }
    """
}
