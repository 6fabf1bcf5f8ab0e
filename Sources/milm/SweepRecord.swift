import Foundation
import Platform
import Training

/// `sweep.json`: the runs of a sweep.
struct SweepRecord: Codable {
  struct Run: Codable {
    /// The name of its directory in that of the sweep.
    let name: String
    /// Each `key.path=value`, on top of the configuration file.
    let settings: [String]
  }

  /// The configuration file, as it was named.
  let configuration: String
  let corpus: String
  private(set) var runs: [Run]

  private static func path(in directory: String) -> String { "\(directory)/sweep.json" }

  /// A sweep over a grid.
  init(configuration: String, corpus: String, grid: ConfigurationGrid) {
    self.configuration = configuration
    self.corpus = corpus
    runs = grid.points.map { Run(name: $0.name, settings: $0.settings) }
  }

  /// The sweep in a directory; nil where there is none.
  init?(readingFrom directory: String) throws {
    let path = Self.path(in: directory)
    guard let content = try readIfPresent(path, limit: 1 << 26) else { return nil }
    do {
      self = try JSONDecoder().decode(Self.self, from: Data(content))
    } catch {
      throw MilmError("\(path): expected the runs of a sweep, found something else")
    }
    guard runs.allSatisfy({ Self.isName($0.name) }) else {
      throw MilmError("\(path): expected names of directories beside it, found others")
    }
  }

  private static func isName(_ name: String) -> Bool {
    !name.isEmpty && !name.contains("/") && name != "." && name != ".."
  }

  /// Adds the runs that an earlier sweep in the same directory had beyond these, and writes the record.
  mutating func write(to directory: String) throws {
    let own = Set(runs.map(\.name))
    if let earlier = try Self(readingFrom: directory) {
      runs += earlier.runs.filter { !own.contains($0.name) }
    }
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
    let text = String(decoding: try encoder.encode(self), as: UTF8.self) + "\n"
    try AtomicFile.write(text, to: Self.path(in: directory))
  }
}
