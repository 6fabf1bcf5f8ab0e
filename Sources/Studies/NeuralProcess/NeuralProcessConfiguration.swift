/// What the study of neural processes is set to.
public struct NeuralProcessConfiguration: StudyConfiguration {
  /// The seed of all random numbers.
  public var seed = 1
  /// How many seeds every decoder is trained with.
  public var seeds = 5
  /// The updates of a training.
  public var steps = 4000
  /// The functions of an update.
  public var functions = 16
  /// The points of a function, those of its context first.
  public var points = 60
  /// The fewest points of a context.
  public var leastContext = 3
  /// The most points of a context.
  public var mostContext = 50
  /// The width of the latent variable.
  public var latentWidth = 16
  /// The units of a hidden layer of encoder and MLP decoder.
  public var hiddenWidth = 64
  /// The learning rate at the top of a cosine.
  public var rate = 0.001
  /// After how many updates the held-out functions are scored.
  public var evaluateEvery = 400
  /// How many functions are held out.
  public var testFunctions = 256
  /// How many latent variables a function is scored with.
  public var samples = 32

  /// The defaults.
  public init() {}

  /// What cannot be used.
  public var defect: String? {
    let counts = [
      seeds, steps, functions, leastContext, latentWidth, hiddenWidth, evaluateEvery, testFunctions, samples,
    ]
    if let wrong = counts.first(where: { $0 < 1 }) { return "expected counts of at least 1, found \(wrong)" }
    if leastContext > mostContext || mostContext >= points {
      return "expected leastContext ≤ mostContext < points, found \(leastContext), \(mostContext), \(points)"
    }
    if testFunctions % functions != 0 {
      return "expected testFunctions that functions divides, found \(testFunctions) and \(functions)"
    }
    if !(rate > 0) { return "expected a positive rate, found \(rate)" }
    return nil
  }
}
