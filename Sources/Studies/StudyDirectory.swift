import Foundation
import Platform

/// The directory of a study: its configuration, the outcomes of finished settings, and the report.
///
///     config.json           the whole configuration
///     settings/NAME.json    the outcome of a finished setting
///     time.json             the time used so far
///     results.json *.csv *.svg
///
/// Files are complete or absent.
struct StudyDirectory {
  let path: String

  /// The time a study has used, over all interruptions.
  struct Time: Codable {
    /// Processor time spent on settings by all ranks.
    var processorSeconds = 0.0
    /// Wall-clock time.
    var seconds = 0.0
  }

  /// Creates the directory, or opens one that was begun with the same configuration.
  init(path: String, configuration: Data) throws {
    self.path = path
    let file = "\(path)/config.json"
    try DirectoryKind.study.requireOutput(path)
    try makeDirectories("\(path)/settings")
    guard let found = try readIfPresent(file) else {
      try write(configuration, to: "config.json")
      return
    }
    guard found.elementsEqual(configuration) else {
      throw MilmError(
        file, "expected the configuration of this command, found a different one; use another directory")
    }
  }

  /// The outcomes of finished settings; unreadable files are skipped, so that their settings run again.
  func outcomes<Outcome: Decodable>() throws -> [String: Outcome] {
    var outcomes: [String: Outcome] = [:]
    for name in try directoryEntries("\(path)/settings") where name.hasSuffix(".json") {
      guard let data = FileManager.default.contents(atPath: "\(path)/settings/\(name)") else { continue }
      outcomes[String(name.dropLast(5))] = try? studyDecoder().decode(Outcome.self, from: data)
    }
    return outcomes
  }

  func time() -> Time {
    let data = FileManager.default.contents(atPath: "\(path)/time.json")
    return data.flatMap { try? studyDecoder().decode(Time.self, from: $0) } ?? Time()
  }

  func save(_ outcome: some Encodable, of name: String) throws {
    try write(try studyEncoder().encode(outcome), to: "settings/\(name).json")
  }

  func save(_ time: Time) throws {
    try write(try studyEncoder(isPretty: true).encode(time), to: "time.json")
  }

  func write(_ data: Data, to name: String) throws {
    try AtomicFile.write(Array(data), to: "\(path)/\(name)")
  }
}
