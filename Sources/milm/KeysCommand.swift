import ArgumentParser
import Training

/// `milm keys`: the keys of the configuration.
struct KeysCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "keys",
    abstract: "Lists the configuration keys with values, defaults and meaning.",
    discussion: """
      Examples:
        milm keys
        milm keys model
        milm keys training.seed --json
      """)

  @Argument(
    help: .init("The beginning of the keys to list (default: all).", valueName: "PREFIX"), completion: .keys)
  var prefix = ""

  @Flag(help: "Print the keys as one line of JSON.")
  var json = false

  func run() throws {
    let keys: [ConfigurationKey]
    do { keys = try ConfigurationKey.all(beginningWith: prefix) } catch {
      throw WrongUsage(description: "\(error)")
    }
    if json { return try printJSON(List(keys: keys.map(List.Key.init))) }
    try printMarkdown(ConfigurationKey.header, keys.map(\.cells))
  }

  private struct List: Encodable {
    struct Key: Encodable {
      let key: String
      let type: String
      let values: String
      /// Those that can be listed.
      let choices: [String]
      let `default`: String
      let mayChangeOnResume: Bool
      let meaning: String

      init(_ key: ConfigurationKey) {
        self.key = key.path
        type = key.kind.rawValue
        values = key.values
        choices = key.choices
        self.default = key.show(RunConfiguration())
        mayChangeOnResume = key.mayDifferOnResume
        meaning = key.meaning
      }
    }

    let keys: [Key]
  }
}

/// A key's row, as the terminal and the reference page have it.
extension ConfigurationKey {
  static let header = ["key", "type", "values", "default", "on resume", "meaning"]

  var cells: [String] {
    [
      "`\(path)`", kind.rawValue, values.replacing("|", with: "\\|"), "`\(show(RunConfiguration()))`",
      mayDifferOnResume ? "may change" : "fixed", meaning,
    ]
  }
}
