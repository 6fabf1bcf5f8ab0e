import Tensors

/// An experiment that consists of many small settings, each trained alone on one thread of one rank.
///
/// What a setting gives is a pure function of the configuration and the setting, whichever rank runs it.
public protocol Study: Sendable {
  /// What the experiment is set to.
  associatedtype Configuration: StudyConfiguration
  /// One thing to train.
  associatedtype Setting: StudySetting
  /// What training it gave.
  associatedtype Outcome: Codable, Sendable

  /// The name in commands and folders.
  static var name: String { get }

  /// A study of these settings.
  init(_ configuration: Configuration)

  /// What the experiment is set to.
  var configuration: Configuration { get }

  /// How many settings there are at the most.
  var settingCount: Int { get }

  /// The settings that come next, given what others have come to; none when the study is over.
  ///
  /// Those that have an outcome may be among them: they are left out by the caller.
  func nextSettings(after outcomes: [String: Outcome], processorSeconds: Double) -> [Setting]

  /// Trains one setting.
  func run(_ setting: Setting, engine: ComputeEngine) -> Outcome

  /// What all outcomes say.
  func report(on outcomes: [String: Outcome]) throws -> StudyReport
}

/// One thing to train in a study.
public protocol StudySetting: Sendable {
  /// A name that no other setting has, fit for a file.
  var name: String { get }
  /// How long it takes compared with others, in any unit: the longest are begun first.
  var cost: Double { get }
}
