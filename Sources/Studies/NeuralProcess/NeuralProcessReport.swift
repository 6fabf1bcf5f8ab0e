extension NeuralProcessStudy {
  /// A decoder over all seeds.
  struct Result: Encodable {
    let decoder: DecoderKind
    let parameters: Int
    /// The log-likelihood of held-out functions, a point, after training.
    let logLikelihood: Estimate
    /// The same after every evaluation.
    let curve: [Estimate]
  }

  private struct Report: Encodable {
    let study = NeuralProcessStudy.name
    let configuration: NeuralProcessConfiguration
    let exactLogLikelihood: Double
    let results: [Result]
  }

  /// Log-likelihoods over training, and some functions.
  public func report(on outcomes: [String: Outcome]) throws -> StudyReport {
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
    var table = Table(["decoder", "its parameters", "held-out log-likelihood, nats a point"])
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
    case .interactionLast: .green
    }
  }

  private func figure(_ results: [Result], exact: Double) -> Figure {
    // The first evaluation is of an untrained network, far below all others.
    let curves = results.map { result in
      Curve(
        name: result.decoder.title, color: color(result.decoder),
        points: result.curve.enumerated().dropFirst().map { place, estimate in
          Curve.Point(Double(functionCount(place)), estimate.mean, error: estimate.standardError)
        })
    }
    let places = curves.flatMap(\.points).map(\.x)
    let limit = Curve(
      name: "the Gaussian process itself", color: .gray, style: .dashed, width: 1.5,
      points: [places.min() ?? 0, places.max() ?? 1].map { Curve.Point($0, exact) })
    func panel(_ title: String, _ curves: [Curve]) -> Panel {
      Panel(
        title: title, x: Axis("functions seen"), y: Axis("held-out log-likelihood, nats a point"),
        curves: curves)
    }
    return Figure(
      title: "Neural processes: held-out log-likelihood",
      subtitle: "Mean of \(configuration.seeds) seeds, ± one standard error",
      columnCount: 2, panels: [panel("decoders", curves), panel("with the best possible", curves + [limit])])
  }

  private func drawings(_ all: [(DecoderKind, [FunctionDrawing])]) -> Figure {
    let panels = all.flatMap { decoder, drawings in
      drawings.map { drawing in
        Panel(
          title: "\(decoder.title), context of \(drawing.context.count)",
          x: Axis("x", range: FunctionBatch.domain), y: Axis("y"), curves: curves(drawing, decoder))
      }
    }
    return Figure(
      title: "Neural processes: held-out functions",
      subtitle:
        "The band is one standard deviation of the prediction, over \(configuration.samples) draws of z",
      columnCount: max(1, all[0].1.count), panels: panels)
  }

  private func curves(_ drawing: FunctionDrawing, _ decoder: DecoderKind) -> [Curve] {
    func points(_ pairs: [[Float]]) -> [Curve.Point] {
      pairs.map { Curve.Point(Double($0[0]), Double($0[1])) }
    }
    let draws = drawing.samples.prefix(4).enumerated().map { index, sample in
      Curve(
        name: index == 0 ? "single draws of z" : nil, color: .orange, width: 1, opacity: 0.7,
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
        name: "points held back", color: .gray, style: .points, points: points(drawing.others)),
      Curve(name: "context", color: .black, style: .points, points: points(drawing.context)),
    ]
  }
}
