import Foundation
import Platform
import Tensors

/// An experiment of many small settings, each trained alone on one thread of one rank.
///
/// The outcome of a setting is a pure function of the configuration and the setting, whichever rank runs it.
package protocol Study: Sendable {
  associatedtype Configuration: StudyConfiguration
  associatedtype Setting: StudySetting
  associatedtype Outcome: Codable, Sendable

  /// The name in commands and directories.
  static var name: String { get }

  init(_ configuration: Configuration)

  var configuration: Configuration { get }

  /// The maximum number of settings.
  var settingCount: Int { get }

  /// The next settings, given the outcomes of others; empty when the study is finished.
  ///
  /// The caller skips those that have an outcome.
  func nextSettings(after outcomes: [String: Outcome], processorSeconds: Double) -> [Setting]

  func run(_ setting: Setting, engine: ComputeEngine) -> Outcome

  func report(on outcomes: [String: Outcome]) throws -> StudyReport
}

/// One training, or search, of a study.
package protocol StudySetting: Sendable {
  /// Unique in the study; a file name.
  var name: String { get }
  /// The relative duration; the longest settings are started first.
  var cost: Double { get }
}

/// The configuration of a study, stored as `config.json`.
package protocol StudyConfiguration: Codable, Equatable, Sendable {
  /// The defaults, with which the documented results were measured.
  init()
  /// The number of seeds per setting.
  var seeds: Int { get set }
  /// The invalid setting in one line: expected and found; nil if all are valid.
  var defect: String? { get }
}

extension StudyConfiguration {
  /// The defaults with some keys replaced, each `key=value` with the value in JSON.
  package init(settings: [String]) throws {
    let defaults = try JSONSerialization.jsonObject(with: studyEncoder().encode(Self()))
    guard var members = defaults as? [String: Any] else {
      preconditionFailure("the configuration is not a JSON object")
    }
    for setting in settings {
      let parts = setting.split(separator: "=", maxSplits: 1).map(String.init)
      guard parts.count == 2, members[parts[0]] != nil else {
        throw MilmError(
          "--set \(setting): expected key=value with a key of \(members.keys.sorted().joined(separator: ", "))"
        )
      }
      let value = try? JSONSerialization.jsonObject(with: Data(parts[1].utf8), options: .fragmentsAllowed)
      members[parts[0]] = value ?? parts[1]
    }
    do {
      self = try studyDecoder().decode(Self.self, from: JSONSerialization.data(withJSONObject: members))
    } catch let error as DecodingError {
      throw MilmError("--set: \(Self.describe(error))")
    }
    if let defect { throw MilmError(defect) }
  }

  /// `config.json`; equal values give equal bytes.
  func encoded() throws -> Data {
    try studyEncoder(isPretty: true).encode(self) + Data("\n".utf8)
  }

  private static func describe(_ error: DecodingError) -> String {
    switch error {
    case .typeMismatch(let type, let context), .valueNotFound(let type, let context):
      "expected \(type == [Any].self ? "a list such as [1,2,4]" : "\(type)") for "
        + "\(context.codingPath.map(\.stringValue).joined(separator: ".")), found a different type"
    default: "expected values of the types in config.json"
    }
  }
}
