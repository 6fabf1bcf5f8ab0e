import Foundation
import Platform

/// What a study is set to: values with names, as they stand in `config.json`.
public protocol StudyConfiguration: Codable, Equatable, Sendable {
  /// The defaults, whose results are in the README.
  init()
  /// How many seeds every setting is trained with.
  var seeds: Int { get set }
  /// What cannot be used, in one line; nil where all can.
  var defect: String? { get }
}

extension StudyConfiguration {
  /// The defaults with other values for some keys, each `key=value`, the value in JSON.
  public init(settings: [String]) throws {
    let defaults = try JSONSerialization.jsonObject(with: studyEncoder().encode(Self()))
    guard var members = defaults as? [String: Any] else {
      preconditionFailure("a configuration that is no object")
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

  /// `config.json`: the same bytes for the same values.
  func encoded() throws -> Data {
    try studyEncoder(isPretty: true).encode(self) + Data("\n".utf8)
  }

  private static func describe(_ error: DecodingError) -> String {
    switch error {
    case .typeMismatch(let type, let context), .valueNotFound(let type, let context):
      "expected \(type == [Any].self ? "a list, as in [1,2,4]," : "\(type)") for "
        + "\(context.codingPath.map(\.stringValue).joined(separator: ".")), found another value"
    default: "unusable values"
    }
  }
}
