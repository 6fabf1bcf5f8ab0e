import Reporting

extension ExpressivityStudy {
  /// A network on a function in a number of dimensions, over all seeds.
  struct Result: Encodable {
    let target: TargetFunction
    let model: Model
    let dimension: Int
    /// The width of the hidden layer; nil where there is none, or no width reached the threshold.
    let width: Estimate?
    /// Nil if for a seed no width up to the maximum reached the threshold.
    let parameters: Estimate?
    let keptParameters: Estimate?
    let error: Estimate
    let errorAfterDropping: Estimate?
  }

  private struct Report: Encodable {
    let study = ExpressivityStudy.name
    let configuration: ExpressivityConfiguration
    let results: [Result]
  }

  /// Parameters over dimensions, and errors at equal size.
  package func report(on outcomes: [String: Outcome]) throws -> StudyReport {
    let finished = configuration.dimensions.filter { dimension in
      settings(dimension: dimension).allSatisfy { outcomes[$0.name] != nil }
    }
    let results = finished.flatMap { dimension in
      TargetFunction.allCases.flatMap { target in
        Model.allCases.compactMap { result(target, $0, dimension: dimension, outcomes) }
      }
    }
    return try StudyReport(
      results: Report(configuration: configuration, results: results),
      summary: summary(results, dimensions: finished), tables: [("results", table(results))],
      figures: [("parameters", figure(results)), ("equal-size", equalSizeFigure(results))])
  }

  private func result(
    _ target: TargetFunction, _ model: Model, dimension: Int, _ outcomes: [String: Outcome]
  ) -> Result? {
    let all = (0..<configuration.seeds).compactMap {
      outcomes[Setting(target: target, model: model, dimension: dimension, seed: $0).name]
    }
    guard !all.isEmpty else { return nil }
    func estimate(_ value: (Outcome) -> Double?) -> Estimate? {
      let values = all.compactMap(value)
      return values.count == all.count ? Estimate(values) : nil
    }
    return Result(
      target: target, model: model, dimension: dimension, width: estimate { $0.width.map(Double.init) },
      parameters: estimate { $0.parameterCount.map(Double.init) },
      keptParameters: estimate { $0.keptCount.map(Double.init) }, error: Estimate(all.map(\.error)),
      errorAfterDropping: estimate(\.errorAfterDropping))
  }

  /// One row per function and dimension.
  private func summary(_ results: [Result], dimensions: [Int]) -> Table {
    var table = Table([
      "function", "d", "sigmoid", "ReLU", "interaction", "sigmoid kept", "ReLU kept", "interaction kept",
      "MSE of ReLU at equal size", "MSE by construction",
    ])
    for target in TargetFunction.allCases {
      for dimension in dimensions {
        func cell(_ model: Model, _ value: (Result) -> Estimate?) -> String {
          let result = results.first {
            $0.target == target && $0.dimension == dimension && $0.model == model
          }
          guard let result else { return "–" }
          guard let estimate = value(result) else { return "not reached" }
          return rounded(estimate.mean, digits: 3)
        }
        let searched: [Model] = [.sigmoid, .relu, .interaction]
        table.add(
          [target.title, "\(dimension)"] + searched.map { cell($0, \.parameters) }
            + searched.map { cell($0, \.keptParameters) }
            + [cell(.equalSize, \.error), cell(.exact, \.error)])
      }
    }
    return table
  }

  private func table(_ results: [Result]) -> Table {
    var table = Table([
      "function", "model", "d", "seeds", "width", "parameters", "parametersError", "kept", "keptError", "mse",
      "mseError", "mseAfterDropping",
    ])
    func cell(_ value: Double?) -> String { value.map { "\($0)" } ?? "" }
    for result in results {
      table.add([
        result.target.rawValue, result.model.rawValue, "\(result.dimension)", "\(configuration.seeds)",
        cell(result.width?.mean), cell(result.parameters?.mean), cell(result.parameters?.standardError),
        cell(result.keptParameters?.mean), cell(result.keptParameters?.standardError),
        cell(result.error.mean), cell(result.error.standardError), cell(result.errorAfterDropping?.mean),
      ])
    }
    return table
  }

  private func figure(_ results: [Result]) -> Figure {
    let models: [(Model, String, Color)] = [
      (.sigmoid, "MLP, sigmoid", .blue), (.relu, "MLP, ReLU", .orange),
      (.interaction, "multiplicative interaction", .teal),
    ]
    let plots = TargetFunction.allCases.map { target in
      Plot(
        title: target.title, x: "d, dimensions of x and of z", y: "parameters", isLogarithmic: true,
        curves: models.flatMap { model, name, color in
          let shown = results.filter { $0.target == target && $0.model == model }
          return [
            Curve(name: name, color: color, style: .marked, points: points(shown, \.parameters)),
            Curve(
              name: "\(name), kept", color: color, style: .dashed, width: 1.5,
              points: points(shown, \.keptParameters)),
          ]
        })
    }
    return Figure(
      title: "Parameters needed for a mean squared error of \(configuration.threshold)",
      subtitle:
        "Narrowest network with one hidden layer and one interaction; x and z standard normal; mean of "
        + "\(configuration.seeds) seeds, ± one standard error; kept: weights of at least "
        + "\(configuration.droppedBelow)",
      columnCount: 4, plots: plots)
  }

  private func equalSizeFigure(_ results: [Result]) -> Figure {
    let plots = [TargetFunction.product, .dot, .bilinear].map { target in
      func curve(_ name: String, _ model: Model, _ color: Color) -> Curve {
        let shown = results.filter { $0.target == target && $0.model == model }
        return Curve(name: name, color: color, style: .marked, points: points(shown, \.error))
      }
      return Plot(
        title: target.title, x: "d, dimensions of x and of z", y: "mean squared error", isLogarithmic: true,
        curves: [
          curve("ReLU network of the same size, trained", .equalSize, .orange),
          curve("interaction, trained", .interaction, .teal),
          curve("interaction, by construction", .exact, .slate),
        ])
    }
    return Figure(
      title: "Theorem 1 in numbers: errors at equal size",
      subtitle: "A full interaction represents the function up to rounding; the ReLU network has at most "
        + "as many parameters; mean of \(configuration.seeds) seeds, ± one standard error",
      columnCount: 3, plots: plots)
  }

  private func points(_ results: [Result], _ value: (Result) -> Estimate?) -> [Curve.Point] {
    results.compactMap { result in
      // A logarithmic axis cannot show an error of exactly zero.
      value(result).map {
        Curve.Point(Double(result.dimension), max($0.mean, 1e-16), error: $0.standardError)
      }
    }
  }
}
