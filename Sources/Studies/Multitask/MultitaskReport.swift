import Reporting

extension MultitaskStudy {
  /// A model on some tasks, over all seeds.
  struct Result: Encodable {
    let family: TaskFamily
    let tasks: Int
    let model: MultitaskModelKind
    let parameters: Int
    let rate: Double
    /// The mean squared error after the last step.
    let finalError: Estimate
    /// The mean squared error averaged over the curve; small if learning is fast.
    let meanError: Estimate
    /// The examples until the averaged curve reaches `goodError`; nil if it never does.
    let examplesToGood: Int?
    /// The averaged curve, one point per evaluation.
    let curve: [Estimate]
  }

  /// Tasks count as learned at this error.
  private static let goodError = 0.01

  private struct Report: Encodable {
    let study = MultitaskStudy.name
    let configuration: MultitaskConfiguration
    let results: [Result]
  }

  /// Averaged learning curves and their summary.
  package func report(on outcomes: [String: Outcome]) throws -> StudyReport {
    let results = comparisons.flatMap { comparison in
      MultitaskModelKind.allCases.map { result(comparison, $0, outcomes) }
    }
    return try StudyReport(
      results: Report(configuration: configuration, results: results), summary: summary(results),
      tables: [("summary", summary(results)), ("curves", curves(results))],
      figures: [("learning-curves", figure(results))])
  }

  private func result(
    _ comparison: Comparison, _ model: MultitaskModelKind, _ outcomes: [String: Outcome]
  ) -> Result {
    let settings = reported(comparison, model, outcomes)
    let all = settings.compactMap { outcomes[$0.name] }
    let curve = (0...configuration.steps / configuration.evaluateEvery).map { place in
      Estimate(all.map { $0.errors[place] })
    }
    return Result(
      family: comparison.family, tasks: comparison.taskCount, model: model,
      parameters: all[0].parameterCount, rate: settings[0].rate,
      finalError: Estimate(all.map(\.finalError)),
      meanError: Estimate(all.map { $0.errors.reduce(0, +) / Double($0.errors.count) }),
      examplesToGood: curve.firstIndex { $0.mean <= Self.goodError }.map(exampleCount), curve: curve)
  }

  private func exampleCount(_ place: Int) -> Int {
    place * configuration.evaluateEvery * configuration.batch
  }

  private func summary(_ results: [Result]) -> Table {
    var table = Table([
      "task family", "tasks", "model", "parameters", "learning rate", "final MSE", "mean MSE of the curve",
      "examples to MSE \(Self.goodError)",
    ])
    for result in results {
      table.add([
        result.family.formula, "\(result.tasks)", result.model.title, "\(result.parameters)",
        "\(result.rate)", result.finalError.text(), result.meanError.text(),
        result.examplesToGood.map { "\($0)" } ?? "not reached",
      ])
    }
    return table
  }

  private func curves(_ results: [Result]) -> Table {
    var table = Table([
      "family", "tasks", "model", "parameters", "rate", "seeds", "examples", "mse", "standardError",
    ])
    for result in results {
      for (place, estimate) in result.curve.enumerated() {
        table.add([
          result.family.rawValue, "\(result.tasks)", result.model.rawValue, "\(result.parameters)",
          "\(result.rate)", "\(configuration.seeds)", "\(exampleCount(place))", "\(estimate.mean)",
          "\(estimate.standardError)",
        ])
      }
    }
    return table
  }

  private func figure(_ results: [Result]) -> Figure {
    let colors: [MultitaskModelKind: Color] = [
      .interaction: .teal, .conditional: .blue, .heads: .orange,
    ]
    let plots = comparisons.map { comparison in
      let shown = results.filter { $0.family == comparison.family && $0.tasks == comparison.taskCount }
      return Plot(
        title: "\(comparison.family.formula), \(comparison.taskCount) tasks",
        x: "examples seen, of all tasks", y: "mean squared error", isLogarithmic: true,
        curves: shown.map { result in
          Curve(
            name: result.model.title, color: colors[result.model] ?? .ink,
            points: result.curve.enumerated().map { place, estimate in
              Curve.Point(Double(exampleCount(place)), estimate.mean, error: estimate.standardError)
            })
        })
    }
    return Figure(
      title: "Multi-task regression: learning curves",
      subtitle: "Mean of \(configuration.seeds) seeds, ± one standard error; a and b uniform in (−1, 1) for "
        + "each task; the learning rate of each model was chosen on other seeds",
      columnCount: configuration.taskCounts.count, plots: plots)
  }
}
