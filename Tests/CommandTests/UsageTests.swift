import Foundation
import TestSupport
import Testing

/// What every command has, those to come included: the program itself says which there are.
@Suite(.timeLimit(.minutes(5))) struct UsageTests {
  private struct Usage: Decodable {
    struct Command: Decodable {
      let commandName: String
      let abstract: String?
      let discussion: String?
      let shouldDisplay: Bool?
      let subcommands: [Command]?
    }
    let command: Command
  }

  /// All commands that do something, as they are typed.
  private func commands() throws -> [(name: String, command: Usage.Command)] {
    let dump = try start([program("milm"), "--experimental-dump-help"])
    let root = try JSONDecoder().decode(Usage.self, from: Data(dump.output.utf8)).command
    func leaves(_ command: Usage.Command, _ path: String) -> [(name: String, command: Usage.Command)] {
      let name = path + command.commandName
      let below = (command.subcommands ?? []).filter { $0.commandName != "help" && $0.shouldDisplay != false }
      return below.isEmpty ? [(name, command)] : below.flatMap { leaves($0, name + " ") }
    }
    return leaves(root, "")
  }

  @Test func everyCommandHasHelpWithAnExample() throws {
    let commands = try commands()
    #expect(commands.count >= 6)
    for (name, command) in commands {
      #expect(command.abstract?.isEmpty == false, "\(name)")
      #expect(command.discussion?.contains("Example") == true, "\(name)")
      #expect(command.discussion?.contains("\(name) ") == true, "\(name)")
      let words = name.split(separator: " ").dropFirst().map(String.init)
      let help = try start([program("milm")] + words + ["--help"])
      #expect(help.status == 0 && help.output.contains("Example"), "\(name)")
    }
  }

  @Test(arguments: ["bash", "zsh", "fish"])
  func aShellCanCompleteEveryCommandAndOption(shell: String) throws {
    let made = try start([program("milm"), "--generate-completion-script", shell])
    #expect(made.status == 0)
    var words = ["cache", "dynamic"]
    for (name, _) in try commands() { words += name.split(separator: " ").dropFirst().map(String.init) }
    for word in words { #expect(made.output.contains(word), "\(word)") }
    guard try start(["sh", "-c", "command -v \(shell)"]).status == 0 else { return }
    let folder = try TemporaryFolder()
    let script = try folder.write(made.output, to: "completions").path
    let parsed = try start([shell, "-n", script])
    #expect(parsed.status == 0, "\(parsed.transcript)")
  }
}
