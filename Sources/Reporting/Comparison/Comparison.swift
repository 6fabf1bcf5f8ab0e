import Platform

/// Runs side by side; those that differ in their seed alone are one row.
package struct Comparison: Sendable {
  /// Rows, the lowest validation perplexity first.
  package let rows: [ComparisonRow]
  /// The keys whose values differ between the rows, without the variant of the model, which every row has.
  package let changedKeys: [String]
  /// Why figures may not be comparable.
  package let caveats: [String]

  /// The comparison of runs that have different names.
  package init(_ runs: [ComparedRun]) {
    let groups = Self.groups(runs)
    let keys = (groups.first?[0].settings.map(\.key) ?? []).filter { key in
      Set(groups.map { $0[0].settings.first { $0.key == key }?.value }).count > 1
    }
    rows = groups.map { ComparisonRow($0, changedKeys: keys) }.enumerated().sorted {
      ($0.element.sortingValue, $0.offset) < ($1.element.sortingValue, $1.offset)
    }.map(\.element)
    changedKeys = keys.filter { $0 != Self.variantKey }
    caveats = Self.caveats(groups)
  }

  static let variantKey = "model.variant"

  /// Runs in groups that differ in the seed alone; a seed occurs once in a group.
  private static func groups(_ runs: [ComparedRun]) -> [[ComparedRun]] {
    var groups: [[ComparedRun]] = []
    for run in runs {
      let index = groups.firstIndex { group in
        group[0].settings == run.settings && group[0].text == run.text
          && !group.contains { $0.seed == run.seed }
      }
      if let index { groups[index].append(run) } else { groups.append([run]) }
    }
    return groups
  }

  private static func caveats(_ groups: [[ComparedRun]]) -> [String] {
    var caveats: [String] = []
    if let first = groups.first, let other = groups.first(where: { $0[0].text != first[0].text }) {
      caveats.append(
        "\(other[0].name) has another vocabulary or validation text than \(first[0].name): "
          + "their perplexities are not comparable")
    }
    for group in groups where group.count > 1 {
      let steps = group.map { $0.history.latest?.step ?? 0 }
      if let least = steps.min(), let most = steps.max(), least < most {
        caveats.append("the runs averaged with \(group[0].name) are at steps \(least) to \(most)")
      }
    }
    return caveats
  }
}

/// One run, or the mean of runs that differ in their seed alone.
package struct ComparisonRow: Sendable {
  let runs: [ComparedRun]
  /// How the row is called: a run by its name, several by what distinguishes them from the others.
  package let name: String
  /// The values of the comparison's changed keys.
  let changes: [ComparedRun.Setting]
  package let bestValid: Estimate?
  package let test: Estimate?
  package let tokensPerSecond: Estimate?

  fileprivate init(_ runs: [ComparedRun], changedKeys: [String]) {
    self.runs = runs
    changes = runs[0].settings.filter { changedKeys.contains($0.key) }
    bestValid = Estimate(runs.map { $0.history.best?.perplexity })
    test = Estimate(runs.map { $0.test?.perplexity })
    tokensPerSecond = Estimate(runs.map { $0.history.whole?.tokensPerSecond })
    guard runs.count > 1 else {
      name = runs[0].name
      return
    }
    let what = changes.map { "\($0.key.split(separator: ".").last ?? "")=\($0.value)" }
    name = "\(what.isEmpty ? runs[0].name : what.joined(separator: ",")) (\(runs.count) seeds)"
  }

  package var variant: String { runs[0].variant }
  /// Nil for a run whose sessions are not recorded.
  package var parameters: Int? { runs[0].history.sessions.last?.parameters }
  package var seeds: [String] { runs.map(\.seed) }
  package var paths: [String] { runs.map(\.path) }
  /// The newest step that all of its runs have reached.
  package var step: Int { runs.map { $0.history.latest?.step ?? 0 }.min() ?? 0 }
  /// The hours of its longest run.
  package var hours: Double { runs.map { ($0.history.whole?.seconds ?? 0) / 3600 }.max() ?? 0 }
  /// The step of the lowest validation perplexity; nil for several runs, which have one each.
  package var bestStep: Int? { runs.count == 1 ? runs[0].history.best?.step : nil }

  func value(of key: String) -> String { changes.first { $0.key == key }?.value ?? "" }

  fileprivate var sortingValue: Double { bestValid?.mean ?? .infinity }
}
