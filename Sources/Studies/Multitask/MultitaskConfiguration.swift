/// What the multi-task study is set to.
public struct MultitaskConfiguration: StudyConfiguration {
  /// The seed of all random numbers.
  public var seed = 1
  /// How many seeds the learning curves are averaged over.
  public var seeds = 12
  /// The numbers of tasks that are learnt together.
  public var taskCounts = [5, 20, 80]
  /// The updates of a training.
  public var steps = 3000
  /// The examples of an update, their tasks drawn uniformly.
  public var batch = 128
  /// After how many updates the error is measured.
  public var evaluateEvery = 100
  /// On how many points of every task it is measured.
  public var evaluationPoints = 50
  /// The learning rates that every model is tried with.
  public var rates = [0.001, 0.003, 0.01, 0.03]
  /// How many seeds of their own the rate is chosen on.
  public var tuningSeeds = 2

  /// The defaults.
  public init() {}

  /// What cannot be used.
  public var defect: String? {
    let counts = [seeds, steps, batch, evaluateEvery, evaluationPoints, tuningSeeds] + taskCounts
    if let wrong = counts.first(where: { $0 < 1 }) { return "expected counts of at least 1, found \(wrong)" }
    if taskCounts.isEmpty || rates.isEmpty { return "expected at least one number of tasks and one rate" }
    if let wrong = rates.first(where: { !($0 > 0) }) { return "expected positive rates, found \(wrong)" }
    if evaluateEvery > steps { return "expected evaluateEvery of at most steps, found \(evaluateEvery)" }
    return nil
  }
}
