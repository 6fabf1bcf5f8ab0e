import Layers
import Tensors

/// The number of parameters that simple functions need (figure 2): the narrowest network with one hidden layer that
/// reaches an error, compared with one multiplicative interaction.
package struct ExpressivityStudy: Study {
  package static let name = "expressivity"
  package let configuration: ExpressivityConfiguration

  package init(_ configuration: ExpressivityConfiguration) { self.configuration = configuration }

  /// The networks that are compared.
  enum Model: String, CaseIterable, Codable, Sendable {
    /// The narrowest network with a hidden layer of sigmoid units.
    case sigmoid
    /// The narrowest network with a hidden layer of rectified units.
    case relu
    /// One interaction, trained: diagonal for products, full for the others.
    case interaction
    /// One full interaction with the weights of the exact solution.
    case exact
    /// A trained network of rectified units with no more parameters than `exact`.
    case equalSize
  }

  /// A function in a number of dimensions, and a network to represent it.
  package struct Setting: StudySetting {
    let target: TargetFunction
    let model: Model
    let dimension: Int
    let seed: Int

    package var name: String { "d\(dimension)-\(target.rawValue)-\(model.rawValue)-seed\(seed)" }

    /// A search takes many trainings.
    package var cost: Double {
      switch model {
      case .sigmoid, .relu: target == .sum ? 2 : 20
      case .interaction, .equalSize: 1
      case .exact: 0
      }
    }
  }

  package struct Outcome: Codable, Sendable {
    /// The width of the hidden layer, where there is one.
    var width: Int?
    /// Nil if no width up to the maximum reached the threshold.
    var parameterCount: Int?
    /// The parameters left when small ones are dropped.
    var keptCount: Int?
    /// The mean squared error.
    var error: Double
    /// The mean squared error without the dropped parameters.
    var errorAfterDropping: Double?
  }

  /// All settings of all dimensions; the budget may end the study earlier.
  package var settingCount: Int {
    configuration.dimensions.reduce(0) { $0 + settings(dimension: $1).count }
  }

  func settings(dimension: Int) -> [Setting] {
    TargetFunction.allCases.flatMap { target in
      Model.allCases.filter { $0 != .equalSize || target != .sum }.flatMap { model in
        (0..<configuration.seeds).map {
          Setting(target: target, model: model, dimension: dimension, seed: $0)
        }
      }
    }
  }

  /// The first unfinished dimension, unless the budget is spent before its start.
  package func nextSettings(after outcomes: [String: Outcome], processorSeconds: Double) -> [Setting] {
    for dimension in configuration.dimensions {
      let all = settings(dimension: dimension)
      let missing = all.filter { outcomes[$0.name] == nil }
      if missing.isEmpty { continue }
      let isBegun = missing.count < all.count
      return isBegun || processorSeconds < 60 * configuration.budgetMinutes ? missing : []
    }
    return []
  }

  package func run(_ setting: Setting, engine: ComputeEngine) -> Outcome {
    let key = RandomKey(seed: UInt64(configuration.seed)).derived(setting.target.rawValue)
      .derived(setting.dimension).derived(setting.seed)
    let examples = TargetExamples(
      setting.target, dimension: setting.dimension, key: key, configuration: configuration,
      trains: setting.model != .exact)
    let search = WidthSearch(
      examples: examples, configuration: configuration, seed: key.derived("weights").bits, engine: engine)
    switch setting.model {
    case .sigmoid: return search.narrowest(.sigmoid)
    case .relu: return search.narrowest(.relu)
    case .interaction: return search.interaction(setting.target == .product ? .diagonal : .full)
    case .exact: return search.exact()
    case .equalSize: return search.equalSize()
    }
  }
}

package struct ExpressivityConfiguration: StudyConfiguration {
  package var seed = 1
  /// The number of repetitions of each search, with different weights and data.
  package var seeds = 3
  /// The widths of x and z, in this order.
  package var dimensions = [1, 2, 3, 4, 6, 8, 10, 12, 16, 20, 24, 32, 40, 48]
  /// Processor minutes of all ranks together after which no further dimension is started.
  package var budgetMinutes = 40.0
  /// The mean squared error to reach.
  package var threshold = 0.1
  /// The second count of parameters leaves out weights smaller than this.
  package var droppedBelow = 0.001
  package var steps = 4000
  /// Examples per step.
  package var batch = 256
  /// Training examples; steps cycle through them.
  package var examples = 65536
  package var testExamples = 8192
  /// Peak learning rates of a cosine schedule; a width suffices if one of them reaches the threshold.
  package var rates = [0.01, 0.003]
  package var maximumWidth = 2048
  /// The relative precision of the search for the width.
  package var widthPrecision = 0.06

  package init() {}

  package var defect: String? {
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
