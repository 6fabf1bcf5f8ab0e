/// What the study of expressivity is set to.
public struct ExpressivityConfiguration: StudyConfiguration {
  /// The seed of all random numbers.
  public var seed = 1
  /// How many times every search is made, with other weights and other data.
  public var seeds = 3
  /// The widths of x and z, in the order in which they are tried.
  public var dimensions = [1, 2, 3, 4, 6, 8, 10, 12, 16, 20, 24, 32, 40, 48]
  /// Processor minutes, of all ranks together, after which no further dimension is begun.
  public var budgetMinutes = 40.0
  /// The mean squared error to reach.
  public var threshold = 0.1
  /// Weights smaller than this are dropped in the second count.
  public var droppedBelow = 0.001
  /// The updates of a training.
  public var steps = 4000
  /// The examples of an update.
  public var batch = 256
  /// The examples that are drawn for training; updates take them by turns.
  public var examples = 65536
  /// The examples that the error is measured on.
  public var testExamples = 8192
  /// The learning rates at the top of a cosine; a width is enough where one of them is.
  public var rates = [0.01, 0.003]
  /// The largest width that is tried.
  public var maximumWidth = 2048
  /// The width is searched to this share of itself.
  public var widthPrecision = 0.06

  /// The defaults.
  public init() {}

  /// What cannot be used.
  public var defect: String? {
    let counts = [seeds, steps, batch, examples, testExamples, maximumWidth] + dimensions
    if let wrong = counts.first(where: { $0 < 1 }) { return "expected counts of at least 1, found \(wrong)" }
    if dimensions.isEmpty || rates.isEmpty { return "expected at least one dimension and one rate" }
    if let wrong = rates.first(where: { !($0 > 0) }) { return "expected positive rates, found \(wrong)" }
    if examples % batch != 0 || testExamples % batch != 0 {
      return "expected numbers of examples that \(batch) divides, found \(examples) and \(testExamples)"
    }
    return nil
  }
}
