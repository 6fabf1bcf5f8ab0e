import Reporting

extension NeuralProcessStudy {
  /// A decoder over all seeds.
  struct Result: Encodable {
    let decoder: DecoderKind
    let parameters: Int
    /// The log-likelihood per point of held-out functions after training.
    let logLikelihood: Estimate
    /// The same for each evaluation.
    let curve: [Estimate]
  }

  private struct Report: Encodable {
    let study = NeuralProcessStudy.name
    let configuration: NeuralProcessConfiguration
    let exactLogLikelihood: Double
    let results: [Result]
  }

  /// Log-likelihoods over training, and some predictions.
  package func report(on outcomes: [String: Outcome]) throws -> StudyReport {
    let all = DecoderKind.allCases.map { decoder in
      (
        decoder,
        (0..<configuration.seeds).compactMap { outcomes[Setting(decoder: decoder, seed: $0).name] }
      )
    }
    let results = all.map { decoder, outcomes in
      let curve = outcomes[0].logLikelihoods.indices.map { place in
        Estimate(outcomes.map { $0.logLikelihoods[place] })
      }
      return Result(
        decoder: decoder, parameters: outcomes[0].parameterCount, logLikelihood: curve[curve.count - 1],
        curve: curve)
    }
    let exact = all[0].1[0].exactLogLikelihood
    return try StudyReport(
      results: Report(configuration: configuration, exactLogLikelihood: exact, results: results),
      summary: summary(results, exact: exact), tables: [("curves", curves(results))],
      figures: [
        ("log-likelihood", figure(results, exact: exact)),
        ("functions", drawings(all.map { ($0.0, $0.1[0].drawings) })),
      ])
  }

  private func summary(_ results: [Result], exact: Double) -> Table {
    var table = Table(["decoder", "its parameters", "held-out log-likelihood, nats per point"])
    for result in results {
      table.add([result.decoder.title, "\(result.parameters)", result.logLikelihood.text()])
    }
    table.add(["the Gaussian process itself", "–", rounded(exact, digits: 3)])
    return table
  }

  private func curves(_ results: [Result]) -> Table {
    var table = Table(["decoder", "parameters", "seeds", "functions", "logLikelihood", "standardError"])
    for result in results {
      for (place, estimate) in result.curve.enumerated() {
        table.add([
          result.decoder.rawValue, "\(result.parameters)", "\(configuration.seeds)",
          "\(functionCount(place))", "\(estimate.mean)", "\(estimate.standardError)",
        ])
      }
    }
    return table
  }

  private func functionCount(_ place: Int) -> Int {
    place * configuration.evaluateEvery * configuration.functions
  }

  private func color(_ decoder: DecoderKind) -> Color {
    switch decoder {
    case .concatenation: .blue
    case .interactionFirst: .purple
    case .interactionLast: .teal
    }
  }

  private func figure(_ results: [Result], exact: Double) -> Figure {
    // The first evaluation, of the untrained network, is far below all others.
    let curves = results.map { result in
      Curve(
        name: result.decoder.title, color: color(result.decoder),
        points: result.curve.enumerated().dropFirst().map { place, estimate in
          Curve.Point(Double(functionCount(place)), estimate.mean, error: estimate.standardError)
        })
    }
    let places = curves.flatMap(\.points).map(\.x)
    let limit = Curve(
      name: "the Gaussian process itself", color: .slate, style: .dashed, width: 1.5,
      points: [places.min() ?? 0, places.max() ?? 1].map { Curve.Point($0, exact) })
    func plot(_ title: String, _ curves: [Curve]) -> Plot {
      Plot(title: title, x: "functions seen", y: "held-out log-likelihood, nats per point", curves: curves)
    }
    return Figure(
      title: "Neural processes: held-out log-likelihood",
      subtitle: "Mean of \(configuration.seeds) seeds, ± one standard error",
      columnCount: 2, plots: [plot("decoders", curves), plot("with the upper bound", curves + [limit])])
  }

  private func drawings(_ all: [(DecoderKind, [FunctionDrawing])]) -> Figure {
    let plots = all.flatMap { decoder, drawings in
      drawings.map { drawing in
        Plot(
          title: "\(decoder.title), context of \(drawing.context.count)", x: "x", y: "y",
          curves: curves(drawing))
      }
    }
    return Figure(
      title: "Neural processes: held-out functions",
      subtitle:
        "Bands are one standard deviation of the prediction over \(configuration.samples) draws of z",
      columnCount: max(1, all[0].1.count), plots: plots)
  }

  private func curves(_ drawing: FunctionDrawing) -> [Curve] {
    func points(_ pairs: [[Float]]) -> [Curve.Point] {
      pairs.map { Curve.Point(Double($0[0]), Double($0[1])) }
    }
    let draws = drawing.samples.prefix(4).enumerated().map { index, sample in
      Curve(
        name: index == 0 ? "single draws of z" : nil, color: .amber, width: 1, opacity: 0.7,
        points: drawing.places.indices.map { Curve.Point(drawing.places[$0], Double(sample[$0][0])) })
    }
    let mixture = Curve(
      name: "mean of the prediction", color: .blue, opacity: 0.9,
      points: drawing.places.indices.map {
        let (mean, deviation) = drawing.mixture($0)
        return Curve.Point(drawing.places[$0], mean, error: deviation)
      })
    return [
      mixture
    ] + draws + [
      Curve(
        name: "held-out points", color: .slate, style: .dots, points: points(drawing.others)),
      Curve(name: "context", color: .ink, style: .dots, points: points(drawing.context)),
    ]
  }
}
