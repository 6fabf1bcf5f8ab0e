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
      let arguments: [Argument]?
    }
    struct Argument: Decodable {
      let kind: String
      let valueName: String?
      let names: [Name]?
      let shouldDisplay: Bool
    }
    struct Name: Decodable {
      let name: String
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

  /// The help of an option says what to give, not its own name again.
  @Test func everyValueHasANameThatSaysWhatToGive() throws {
    for (name, command) in try commands() {
      for argument in command.arguments ?? [] where argument.kind != "flag" && argument.shouldDisplay {
        let value = try #require(argument.valueName)
        let names = (argument.names ?? []).map(\.name)
        let saysWhat = value.contains("|") || value == value.uppercased() || argument.kind == "positional"
        #expect(
          !names.contains(value) && saysWhat,
          "\(name): \(names) <\(value)>")
      }
    }
  }

  @Test func keysListsWhatTheReferencePageHas() throws {
    let page = try String(
      contentsOf: repositoryFolder.appending(path: "Sources/milm/milm.docc/ConfigurationReference.md"),
      encoding: .utf8)
    func rows(_ text: String) -> [String] {
      text.split(separator: "\n").filter { $0.hasPrefix("| `") }.map {
        String($0.replacing(#/ +/#, with: " "))
      }
    }
    let all = try start([program("milm"), "keys"])
    #expect(all.status == 0 && rows(all.output).count > 40)
    #expect(rows(all.output) == rows(page))
    let some = try start([program("milm"), "keys", "schedule"])
    #expect(rows(some.output).count == 3 && rows(some.output).allSatisfy { $0.contains("`schedule.") })
    let json = try object(start([program("milm"), "keys", "model.variant", "--json"]))
    let key = try #require((json["keys"] as? [[String: Any]])?.first)
    #expect(key["type"] as? String == "choice" && key["default"] as? String == "multencdec")
    #expect(
      (key["choices"] as? [String])?.contains("lstm") == true && key["mayChangeOnResume"] as? Bool == false)
    let wrong = try start([program("milm"), "keys", "modle"])
    #expect(
      wrong.status == 64 && wrong.errors.contains("the nearest known key is model"), "\(wrong.transcript)")
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

  @Test(arguments: [
    (["trian"], "unknown command trian; the nearest command is train"),
    (["prepaer", "--output", "c"], "unknown command prepaer; the nearest command is prepare"),
    (["benchmark", "stp"], "unknown command stp; the nearest command is step"),
    (["study", "multi-task"], "unknown command multi-task; the nearest command is multitask"),
    (["x"], "unknown command x; expected prepare, train, evaluate, generate"),
    (
      ["train", "a.yaml", "--set", "model.dropout=1"],
      "expected model.dropout.input, model.dropout.output, "
        + "model.dropout.hidden or model.dropout.attention"
    ),
    (["plan", "a.yaml", "--set", "hidden=1"], "the nearest known key is model.hidden"),
    (
      ["benchmark", "step", "a.yaml", "--set", "training=1"], "training is a section: expected training.lanes"
    ),
    (["benchmark", "exchange", "a.yaml", "--set", "training.steps=x"], "expected an integer from 1"),
    (["benchmark", "filter", "run", "--corpus", "c", "--set", "training.steps"], "expected key.path=value"),
    (["study", "expressivity", "--set", "nothing=1"], "expected key=value with a key of"),
    (["train", "a.yaml", "--corpus", "c", "--output", ""], "expected a path, found an empty text"),
    (["prepare", "--train", "a", "--output", ""], "expected a path, found an empty text"),
    (["evaluate", ""], "expected a path, found an empty text"),
    (
      ["evaluate", "run", "--corpus", "c", "--threads", "9223372036854775807"],
      "--threads: expected 1 to 1024"
    ),
    (
      ["benchmark", "prepare", "--train", "text", "--threads", "0"], "--threads: expected 1 to 1024, found 0"
    ),
  ])
  func wrongUsageSaysWhatIsMeant(arguments: [String], expected: String) throws {
    let run = try start([program("milm")] + arguments)
    #expect(run.status == 64 && run.errors.contains(expected), "\(run.transcript)")
    #expect(!arguments.contains("--set") || run.errors.split(separator: "\n").count == 1, "\(run.transcript)")
  }

  @Test func anArgumentThatIsNotUTF8IsRefused() throws {
    let line = "'\(program("milm"))' inspect $'run-\\xff'"
    let run = try start(["bash", "-c", line])
    #expect(run.status == 64 && run.errors.contains("argument 2: expected UTF-8"), "\(run.transcript)")
  }

  @Test func aWorkingDirectoryThatIsNotUTF8IsRefused() throws {
    let folder = try TemporaryFolder()
    let line =
      "cd '\(folder.file("."))' && mkdir $'bad-\\xff' && cd $'bad-\\xff' && '\(program("milm"))' inspect run"
    let run = try start(["bash", "-c", line])
    #expect(run.status == 64 && run.errors.contains("working directory: expected"), "\(run.transcript)")
  }

  @Test func aMissingCorpusOrRunNamesPrepare() throws {
    let bench = try CommandBench()
    let run = try bench.train()
    let none = bench.folder.file("none")
    let new = bench.folder.file("new")
    for arguments in [
      ["train", bench.configuration, "--corpus", none, "--output", none],
      ["plan", bench.configuration, "--corpus", none], ["evaluate", run, "--corpus", none],
      ["evaluate", none, "--corpus", bench.corpus], ["generate", none], ["generate", run, "--corpus", none],
      ["inspect", none], ["inspect", bench.folder.path], ["report", none],
      ["benchmark", "step", bench.configuration, "--corpus", none], ["watch", none],
      ["sweep", bench.configuration, "--corpus", none, "--output", new],
      ["import", bench.configuration, "--vocabulary", none, "--output", new],
      ["prepare", "--vocabulary", none, "--train", bench.configuration, "--output", new],
    ] {
      let result = try start([program("milm")] + arguments)
      #expect(result.status == 1 && result.errors.split(separator: "\n").count == 1, "\(result.transcript)")
      #expect(result.errors.contains("milm prepare builds"), "\(result.transcript)")
    }
    #expect(!FileManager.default.fileExists(atPath: new))
  }
}
