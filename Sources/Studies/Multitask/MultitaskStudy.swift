import Layers
import Tensors

/// Many regression tasks learnt by one network (figure 3).
///
/// Does a multiplicative interaction with the task suffer less from the other tasks than a network that reads the task beside
/// x, or one with a head for every task?
public struct MultitaskStudy: Study {
  /// The name in commands and folders.
  public static let name = "multitask"
  /// What the study is set to.
  public let configuration: MultitaskConfiguration

  /// A study of these settings.
  public init(_ configuration: MultitaskConfiguration) { self.configuration = configuration }

  /// A kind of tasks and how many of them: what the three models are compared on.
  struct Comparison: Hashable, Sendable {
    let family: TaskFamily
    let taskCount: Int
  }

  /// One training of one model.
  public struct Setting: StudySetting {
    let comparison: Comparison
    let model: MultitaskModelKind
    let rate: Double
    /// The number of the seed.
    let seed: Int
    /// Whether the training is for the choice of the rate alone.
    let isTuning: Bool

    /// The kind of tasks, their number, the model, the rate and the seed.
    public var name: String {
      "\(comparison.family.rawValue)-\(comparison.taskCount)-\(model.rawValue)-rate\(rate)-"
        + "\(isTuning ? "tuning" : "seed")\(seed)"
    }

    /// Wide one-hot tasks take longest.
    public var cost: Double { 200 + Double(comparison.taskCount) }
  }

  /// What a training came to.
  public struct Outcome: Codable, Sendable {
    /// The parameters of the model.
    let parameterCount: Int
    /// The mean squared error over all tasks before the first update and after every `evaluateEvery`.
    let errors: [Double]

    /// The error after the last update; beyond all where training ran away.
    var finalError: Double { errors.last.map { $0.isFinite ? $0 : .infinity } ?? .infinity }
  }

  var comparisons: [Comparison] {
    TaskFamily.allCases.flatMap { family in
      configuration.taskCounts.map { Comparison(family: family, taskCount: $0) }
    }
  }

  /// All trainings, those for the choice of rates included.
  public var settingCount: Int {
    comparisons.count * MultitaskModelKind.allCases.count
      * (configuration.rates.count * configuration.tuningSeeds + configuration.seeds)
  }

  /// First those that choose a rate for each model, then those that are reported.
  public func nextSettings(after outcomes: [String: Outcome], processorSeconds: Double) -> [Setting] {
    let tuning = comparisons.flatMap { comparison in
      MultitaskModelKind.allCases.flatMap { model in
        configuration.rates.flatMap { tuningSettings(comparison, model, rate: $0) }
      }
    }
    guard tuning.allSatisfy({ outcomes[$0.name] != nil }) else { return tuning }
    return comparisons.flatMap { comparison in
      MultitaskModelKind.allCases.flatMap { reported(comparison, $0, outcomes) }
    }.filter { outcomes[$0.name] == nil }
  }

  private func tuningSettings(
    _ comparison: Comparison, _ model: MultitaskModelKind, rate: Double
  ) -> [Setting] {
    (0..<configuration.tuningSeeds).map {
      Setting(comparison: comparison, model: model, rate: rate, seed: $0, isTuning: true)
    }
  }

  /// The rate with the smallest mean final error on seeds of its own; the smaller one of equals.
  func bestRate(
    _ comparison: Comparison, _ model: MultitaskModelKind, _ outcomes: [String: Outcome]
  ) -> Double {
    let errors = configuration.rates.sorted().map { rate in
      let finals = tuningSettings(comparison, model, rate: rate).compactMap { outcomes[$0.name]?.finalError }
      return (rate: rate, error: finals.reduce(0, +))
    }
    return errors.min { $0.error < $1.error }?.rate ?? configuration.rates[0]
  }

  /// The trainings of a model that are reported.
  func reported(
    _ comparison: Comparison, _ model: MultitaskModelKind, _ outcomes: [String: Outcome]
  ) -> [Setting] {
    let rate = bestRate(comparison, model, outcomes)
    return (0..<configuration.seeds).map {
      Setting(comparison: comparison, model: model, rate: rate, seed: $0, isTuning: false)
    }
  }

  /// Trains one model on the tasks of its seed.
  public func run(_ setting: Setting, engine: ComputeEngine) -> Outcome {
    let arena = Arena()
    let taskCount = setting.comparison.taskCount
    // Tasks and examples do not depend on the model: all three see the same.
    let key = RandomKey(seed: UInt64(configuration.seed)).derived(setting.isTuning ? "tuning" : "tasks")
      .derived(setting.comparison.family.rawValue).derived(taskCount).derived(setting.seed)
    let problem = MultitaskProblem(family: setting.comparison.family, taskCount: taskCount, key: key)
    var list = ParameterList()
    let model = setting.model.make(taskCount: taskCount, in: &list)
    let learner = Learner(list, seed: key.derived("weights").bits, engine: engine)
    let batch = Examples(count: configuration.batch, taskCount: taskCount, in: arena)
    let test = Examples(
      count: taskCount * configuration.evaluationPoints, taskCount: taskCount, in: arena)
    problem.fillForEvaluation(test, pointsATask: configuration.evaluationPoints)
    let pass = model.pass(rowCount: batch.count, learner: learner, in: arena)
    let testPass = model.pass(rowCount: test.count, learner: learner, in: arena)
    func error() -> Double {
      testPass.forward(test)
      return meanSquaredError(testPass.output, test.targets)
    }
    var errors = [error()]
    for step in 1...configuration.steps {
      problem.fill(batch, step: step)
      pass.forward(batch)
      _ = meanSquaredError(pass.output, batch.targets, gradient: pass.outputGradient)
      pass.backward(batch)
      learner.update(rate: setting.rate)
      if step % configuration.evaluateEvery == 0 { errors.append(error()) }
    }
    return withExtendedLifetime(arena) {
      Outcome(parameterCount: learner.parameterCount, errors: errors)
    }
  }
}
