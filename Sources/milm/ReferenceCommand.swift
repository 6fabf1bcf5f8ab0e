import ArgumentParser
import Communication
import Foundation
import Platform
import Training

/// `milm reference`: the pages of all commands and of all configuration keys, from the code.
struct ReferenceCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "reference",
    abstract: "Writes CommandReference.md and ConfigurationReference.md.",
    discussion: """
      Example:
        milm reference --output Sources/milm/milm.docc
      """,
    shouldDisplay: false)

  @Option(
    help: .init("The directory of the pages.", valueName: "DIR"), completion: .directory,
    transform: pathArgument)
  var output: String

  @Flag(help: "Write nothing, and fail where a page differs from what would be written.")
  var check = false

  func run() throws {
    for (name, text) in [
      ("CommandReference.md", Self.commands), ("ConfigurationReference.md", Self.configurationKeys),
    ] {
      let path = "\(output)/\(name)"
      if check {
        try compare(path, with: text)
      } else {
        try AtomicFile.write(text, toOutput: path, beginning: "# ")
      }
    }
  }

  private func compare(_ path: String, with text: String) throws {
    guard let data = FileManager.default.contents(atPath: path) else {
      throw MilmError("\(path): expected the generated page, found no file; run \(remedy)")
    }
    let expected = text.split(separator: "\n", omittingEmptySubsequences: false)
    let found = String(decoding: data, as: UTF8.self).split(
      separator: "\n", omittingEmptySubsequences: false)
    for number in 0..<max(expected.count, found.count) {
      let expectedLine = number < expected.count ? "'\(expected[number])'" : "the end"
      let foundLine = number < found.count ? "'\(found[number])'" : "the end"
      guard expectedLine == foundLine else {
        throw MilmError(
          "\(path):\(number + 1): expected \(expectedLine), found \(foundLine); run \(remedy)")
      }
    }
  }

  private var remedy: String { "milm reference --output \(output)" }

  /// Every public command with its help.
  private static var commands: String {
    var lines = [
      "# Commands", "", "Every public command with its help text.", "",
      "`train`, `evaluate`, `benchmark step`, `benchmark exchange`, `plan`, `study` and `doctor` run alone or under "
        + "`mpirun`.",
      "Exit status: 0 success, 64 wrong usage, 75 interrupted and resumable, 1 anything else.", "",
    ]
    func add(_ command: any ParsableCommand.Type, _ path: String) {
      guard command.configuration.shouldDisplay else { return }
      lines += ["## \(path)", "", "```text"]
      lines += Milm.helpMessage(for: command, columns: columnCount).split(
        separator: "\n", omittingEmptySubsequences: false
      ).flatMap(wrapped)
      lines += ["```", ""]
      for subcommand in command.configuration.subcommands {
        add(subcommand, "\(path) \(subcommand.configuration.commandName ?? subcommand._commandName)")
      }
    }
    add(Milm.self, "milm")
    return lines.joined(separator: "\n")
  }

  private static let columnCount = 116

  /// A line without trailing spaces, wrapped; ArgumentParser leaves usage lines whole.
  private static func wrapped(_ line: Substring) -> [String] {
    guard line.count > columnCount, let space = line.prefix(columnCount).lastIndex(of: " ") else {
      return [String(line.replacing(#/ +$/#, with: ""))]
    }
    return [String(line[..<space])] + wrapped(Substring("      " + line[space...]))
  }

  /// Every configuration key in a table for each section.
  private static var configurationKeys: String {
    var lines = [
      "# Configuration keys", "", "Every key of the configuration file, with its default.", "",
      "A configuration is YAML or JSON; the dots of a key are its levels: `model.dropout.input` is",
      "`model: { dropout: { input: 0.1 } }`. A key that is left out has its default. `--set KEY=VALUE` takes the same keys.",
      "A resumed run must have the values that it began with, except for the keys marked *may change*.", "",
    ]
    var section = ""
    for key in ConfigurationKey.all {
      let name = String(key.path.prefix { $0 != "." })
      if name != section {
        if !section.isEmpty { lines.append("") }
        section = name
        lines += [
          "## \(name)", "", "| \(ConfigurationKey.header.joined(separator: " | ")) |",
          "|\(ConfigurationKey.header.map { _ in "---|" }.joined())",
        ]
      }
      lines.append("| \(key.cells.joined(separator: " | ")) |")
    }
    return lines.joined(separator: "\n") + "\n"
  }
}
