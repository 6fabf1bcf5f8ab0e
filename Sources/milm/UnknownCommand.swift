import ArgumentParser
import Platform

/// A command line that begins with a command that does not exist.
struct UnknownCommand {
  /// One line: the unknown word, and the command whose name is nearest.
  let message: String

  /// Nil where the command exists.
  init?(_ arguments: some Sequence<String>, below root: any ParsableCommand.Type) {
    var command = root
    for word in arguments {
      let subcommands = command.configuration.subcommands
      guard !subcommands.isEmpty, !word.hasPrefix("-"), word != "help" else { return nil }
      if let next = subcommands.first(where: { $0._commandName == word }) {
        command = next
        continue
      }
      let names = subcommands.filter { $0.configuration.shouldDisplay }.map { $0._commandName }
      let found = nearest(to: word, among: names)
      // Further apart, the likeness is chance.
      let advice =
        2 * found.distance <= word.count
        ? "the nearest command is \(alternatives(found.names))" : "expected \(alternatives(names))"
      message = "unknown command \(word); \(advice)"
      return
    }
    return nil
  }
}
