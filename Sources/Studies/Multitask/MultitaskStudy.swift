import Layers
import Tensors

/// Many regression tasks learned by one network (figure 3).
///
/// Does a multiplicative interaction with the task interfere less with other tasks than a network that reads the task as
/// an input, or one with a head per task?
package struct MultitaskStudy: Study {
  package static let name = "multitask"
  package let configuration: MultitaskConfiguration

  package init(_ configuration: MultitaskConfiguration) { self.configuration = configuration }

  /// The tasks on which the three models are compared.
  struct Comparison: Hashable, Sendable {
    let family: TaskFamily
    let taskCount: Int
  }

  /// One training of one model.
  package struct Setting: StudySetting {
    let comparison: Comparison
    let model: MultitaskModelKind
    let rate: Double
    let seed: Int
    /// Whether the training only serves to choose the learning rate.
    let isTuning: Bool

    package var name: String {
      "\(comparison.family.rawValue)-\(comparison.taskCount)-\(model.rawValue)-rate\(rate)-"
        + "\(isTuning ? "tuning" : "seed")\(seed)"
    }

    /// Grows with the width of the one-hot task.
    package var cost: Double { 200 + Double(comparison.taskCount) }
  }

  package struct Outcome: Codable, Sendable {
    let parameterCount: Int
    /// The mean squared error over all tasks before the first step and after every `evaluateEvery`.
    let errors: [Double]

    /// The error after the last step; infinite if training diverged.
    var finalError: Double { errors.last.map { $0.isFinite ? $0 : .infinity } ?? .infinity }
  }

  var comparisons: [Comparison] {
    TaskFamily.allCases.flatMap { family in
      configuration.taskCounts.map { Comparison(family: family, taskCount: $0) }
    }
  }

  /// All trainings, including those that choose the learning rates.
  package var settingCount: Int {
    comparisons.count * MultitaskModelKind.allCases.count
      * (configuration.rates.count * configuration.tuningSeeds + configuration.seeds)
  }

  /// First the trainings that choose a learning rate for each model, then those that are reported.
  package func nextSettings(after outcomes: [String: Outcome], processorSeconds: Double) -> [Setting] {
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

  /// The learning rate with the smallest mean final error on tuning seeds; the smaller one on a tie.
  func bestRate(
    _ comparison: Comparison, _ model: MultitaskModelKind, _ outcomes: [String: Outcome]
  ) -> Double {
    let errors = configuration.rates.sorted().map { rate in
      let finals = tuningSettings(comparison, model, rate: rate).compactMap { outcomes[$0.name]?.finalError }
      return (rate: rate, error: finals.reduce(0, +))
    }
    return errors.min { $0.error < $1.error }?.rate ?? configuration.rates[0]
  }

  /// The reported trainings of a model.
  func reported(
    _ comparison: Comparison, _ model: MultitaskModelKind, _ outcomes: [String: Outcome]
  ) -> [Setting] {
    let rate = bestRate(comparison, model, outcomes)
    return (0..<configuration.seeds).map {
      Setting(comparison: comparison, model: model, rate: rate, seed: $0, isTuning: false)
    }
  }

  package func run(_ setting: Setting, engine: ComputeEngine) -> Outcome {
    let arena = Arena()
    let taskCount = setting.comparison.taskCount
    // Tasks and examples do not depend on the model.
    let key = RandomKey(seed: UInt64(configuration.seed)).derived(setting.isTuning ? "tuning" : "tasks")
      .derived(setting.comparison.family.rawValue).derived(taskCount).derived(setting.seed)
    let problem = MultitaskProblem(family: setting.comparison.family, taskCount: taskCount, key: key)
    var list = ParameterList()
    let model = setting.model.make(taskCount: taskCount, in: &list)
    let learner = Learner(list, seed: key.derived("weights").bits, engine: engine)
    let batch = Examples(count: configuration.batch, taskCount: taskCount, in: arena)
    let test = Examples(
      count: taskCount * configuration.evaluationPoints, taskCount: taskCount, in: arena)
    problem.fillForEvaluation(test, pointsPerTask: configuration.evaluationPoints)
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

package struct MultitaskConfiguration: StudyConfiguration {
  package var seed = 1
  /// The number of seeds that learning curves are averaged over.
  package var seeds = 12
  /// Numbers of tasks learned together.
  package var taskCounts = [5, 20, 80]
  package var steps = 3000
  /// Examples per step, of uniformly drawn tasks.
  package var batch = 128
  /// Steps between evaluations.
  package var evaluateEvery = 100
  /// Points per task in an evaluation.
  package var evaluationPoints = 50
  /// The learning rates to choose from, for each model.
  package var rates = [0.001, 0.003, 0.01, 0.03]
  /// The number of seeds, apart from the others, for choosing the learning rate.
  package var tuningSeeds = 2

  package init() {}

  package var defect: String? {
    let counts = [seeds, steps, batch, evaluateEvery, evaluationPoints, tuningSeeds] + taskCounts
    if let wrong = counts.first(where: { $0 < 1 }) { return "expected counts of at least 1, found \(wrong)" }
    if taskCounts.isEmpty || rates.isEmpty { return "expected at least one number of tasks and one rate" }
    if let wrong = rates.first(where: { !($0 > 0) }) { return "expected positive rates, found \(wrong)" }
    if evaluateEvery > steps { return "expected evaluateEvery of at most steps, found \(evaluateEvery)" }
    return nil
  }
}
