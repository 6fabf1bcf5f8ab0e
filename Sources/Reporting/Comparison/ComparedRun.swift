import Platform

/// A run as it is compared with others: what was trained, and how it went.
package struct ComparedRun: Sendable {
  /// A key of the configuration with its value.
  package struct Setting: Sendable, Equatable {
    package let key: String
    package let value: String

    package init(key: String, value: String) {
      self.key = key
      self.value = value
    }
  }

  /// A name that no other of the compared runs has.
  package let name: String
  package let path: String
  let variant: String
  let seed: String
  /// What else may change the result, in the order of the configuration.
  let settings: [Setting]
  /// Identifies the vocabulary and the validation text: perplexities of others are not comparable.
  let text: String
  let history: RunHistory
  /// The result of `milm evaluate` on the test split, for the checkpoint that stands for the run.
  let test: MetricsLine?

  /// Whether the checkpoint that stands for the run has been evaluated on the test split.
  package var isTested: Bool { test != nil }

  /// A run with this record.
  ///
  /// `settings` are all keys that may change the result, but for the seed; `vocabulary` identifies the vocabulary.
  package init(
    name: String, path: String, variant: String, seed: String, settings: [Setting], vocabulary: String,
    files: RunFiles
  ) throws {
    self.name = name
    self.path = path
    self.variant = variant
    self.seed = seed
    self.settings = settings
    history = try files.history()
    guard history.latest != nil || !history.evaluations.isEmpty else {
      throw MilmError("\(path): expected a run with lines in metrics.jsonl, found none")
    }
    text = "\(vocabulary) \(history.evaluations.last.map { "\($0.tokens)" } ?? "")"
    // Without evaluations of the validation split the newest checkpoint stands for the run.
    let step = history.best?.step ?? history.latest?.step
    test = try files.evaluations(ofSplit: "test").last { $0.step == step }
  }
}

/// How far a run was after each of its reports, by three measures.
struct RunCourse {
  enum Measure: CaseIterable {
    case steps, tokens, hours
  }

  private var steps = [0.0]
  private var tokens = [0.0]
  private var hours = [0.0]

  init(_ history: RunHistory) {
    if let first = history.sessions.first {
      steps[0] = Double(first.step)
      tokens[0] = Double(first.tokens)
    }
    for point in history.points {
      steps.append(Double(point.step))
      tokens.append(tokens[tokens.count - 1] + Double(point.tokenCount))
      hours.append(hours[hours.count - 1] + point.seconds / 3600)
    }
  }

  /// Where a step is by a measure; the end for a step beyond the last report.
  func place(ofStep step: Int, by measure: Measure) -> Double {
    switch measure {
    case .steps: Double(step)
    case .tokens: PolygonalLine(steps, tokens).value(at: Double(step)) ?? tokens[tokens.count - 1]
    case .hours: PolygonalLine(steps, hours).value(at: Double(step)) ?? hours[hours.count - 1]
    }
  }
}

/// A function that is linear between given places.
struct PolygonalLine {
  /// Ascending.
  let places: [Double]
  let values: [Double]

  init(_ places: [Double], _ values: [Double]) {
    self.places = places
    self.values = values
  }

  /// Nil outside the places.
  func value(at place: Double) -> Double? {
    guard let first = places.first, let last = places.last, (first...max(first, last)).contains(place) else {
      return nil
    }
    var (low, high) = (0, places.count - 1)
    while high - low > 1 {
      let middle = (low + high) / 2
      if places[middle] <= place { low = middle } else { high = middle }
    }
    let width = places[high] - places[low]
    guard width > 0 else { return values[high] }
    return values[low] + (values[high] - values[low]) * (place - places[low]) / width
  }
}
