import Layers
import Tensors

/// How many parameters it takes to represent simple functions (figure 2): the narrowest network with one hidden layer that
/// reaches an error, against one multiplicative interaction.
public struct ExpressivityStudy: Study {
  /// The name in commands and folders.
  public static let name = "expressivity"
  /// What the study is set to.
  public let configuration: ExpressivityConfiguration

  /// A study of these settings.
  public init(_ configuration: ExpressivityConfiguration) { self.configuration = configuration }

  /// What is to represent a function.
  enum Model: String, CaseIterable, Codable, Sendable {
    /// The narrowest network with a hidden layer of sigmoid units.
    case sigmoid
    /// The narrowest network with a hidden layer of rectified units.
    case relu
    /// One interaction, trained: diagonal for products, full for the others.
    case interaction
    /// One full interaction whose weights are written down.
    case exact
    /// A trained network of rectified units with no more parameters than `exact`.
    case equalSize
  }

  /// One function, in so many dimensions, for one kind of network.
  public struct Setting: StudySetting {
    let target: TargetFunction
    let model: Model
    let dimension: Int
    let seed: Int

    /// The dimension, the function, the network and the seed.
    public var name: String { "d\(dimension)-\(target.rawValue)-\(model.rawValue)-seed\(seed)" }

    /// A search takes many trainings.
    public var cost: Double {
      switch model {
      case .sigmoid, .relu: target == .sum ? 2 : 20
      case .interaction, .equalSize: 1
      case .exact: 0
      }
    }
  }

  /// What a search or a training came to.
  public struct Outcome: Codable, Sendable {
    /// The units of the hidden layer; nil where there is none.
    var width: Int?
    /// The parameters; nil where no width up to the largest was enough.
    var parameterCount: Int?
    /// Those left when small ones are dropped.
    var keptCount: Int?
    /// The mean squared error.
    var error: Double
    /// The mean squared error without the dropped ones.
    var errorAfterDropping: Double?
  }

  /// All settings of all dimensions, which the budget may cut short.
  public var settingCount: Int {
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

  /// The first dimension that is not finished, unless the budget is spent before it is begun.
  public func nextSettings(after outcomes: [String: Outcome], processorSeconds: Double) -> [Setting] {
    for dimension in configuration.dimensions {
      let all = settings(dimension: dimension)
      let missing = all.filter { outcomes[$0.name] == nil }
      if missing.isEmpty { continue }
      let isBegun = missing.count < all.count
      return isBegun || processorSeconds < 60 * configuration.budgetMinutes ? missing : []
    }
    return []
  }

  /// Searches or trains.
  public func run(_ setting: Setting, engine: ComputeEngine) -> Outcome {
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
