import Foundation
import Platform

/// The folder of a study: its configuration, what every finished setting came to, and the report.
///
///     config.json           what was run, whole
///     settings/NAME.json    the outcome of a setting, written when it is finished
///     time.json             what it took so far
///     results.json *.csv *.svg
///
/// A file is there whole or not at all.
struct StudyFolder {
  let path: String

  /// What a study took so far, over all its ranks and interruptions.
  struct Time: Codable {
    /// Seconds at work on settings, of all ranks together.
    var processorSeconds = 0.0
    /// Seconds from start to end.
    var seconds = 0.0
  }

  /// Makes the folder, or takes up one that the same configuration has begun.
  init(path: String, configuration: Data) throws {
    self.path = path
    let file = "\(path)/config.json"
    do {
      try FileManager.default.createDirectory(
        atPath: "\(path)/settings", withIntermediateDirectories: true)
    } catch {
      throw MilmError("\(path): cannot create the directory: \(error.localizedDescription)")
    }
    guard let found = FileManager.default.contents(atPath: file) else {
      try write(configuration, to: "config.json")
      return
    }
    guard found == configuration else {
      throw MilmError(
        "\(file): expected the configuration of this command, found another; use another folder")
    }
  }

  /// The outcomes of the settings that are finished; a file that cannot be read counts as none.
  func outcomes<Outcome: Decodable>() throws -> [String: Outcome] {
    let names: [String]
    do {
      names = try FileManager.default.contentsOfDirectory(atPath: "\(path)/settings")
    } catch {
      throw MilmError("\(path)/settings: cannot list the directory")
    }
    var outcomes: [String: Outcome] = [:]
    for name in names where name.hasSuffix(".json") {
      guard let data = FileManager.default.contents(atPath: "\(path)/settings/\(name)") else { continue }
      outcomes[String(name.dropLast(5))] = try? studyDecoder().decode(Outcome.self, from: data)
    }
    return outcomes
  }

  /// What the study took so far.
  func time() -> Time {
    let data = FileManager.default.contents(atPath: "\(path)/time.json")
    return data.flatMap { try? studyDecoder().decode(Time.self, from: $0) } ?? Time()
  }

  /// Keeps the outcome of a finished setting.
  func keep(_ outcome: some Encodable, of name: String) throws {
    try write(try studyEncoder().encode(outcome), to: "settings/\(name).json")
  }

  /// Keeps what the study took so far.
  func keep(_ time: Time) throws {
    try write(try studyEncoder(isPretty: true).encode(time), to: "time.json")
  }

  /// Writes a file whole, in place of an earlier one.
  func write(_ data: Data, to name: String) throws {
    do {
      try data.write(to: URL(filePath: "\(path)/\(name)"), options: .atomic)
    } catch {
      throw MilmError("\(path)/\(name): cannot write: \(error.localizedDescription)")
    }
  }
}
