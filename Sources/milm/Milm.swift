import ArgumentParser
import Communication
import Foundation
import Platform
import Training

/// The program and its commands.
@main
struct Milm: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "milm",
    abstract: "Trains multiplicative-interaction language models on CPU clusters.",
    discussion: """
      Example, from text to perplexity:
        milm prepare --train wiki.train.tokens --valid wiki.valid.tokens --test wiki.test.tokens \
      --output corpus
        mpirun --bind-to none -n 2 milm train configs/wikitext-2.yaml --corpus corpus --output run
        milm evaluate run --corpus corpus
      """,
    version: programVersion,
    subcommands: [
      PrepareCommand.self, TrainCommand.self, EvaluateCommand.self, GenerateCommand.self, InspectCommand.self,
      ReportCommand.self, BenchmarkCommand.self, PlanCommand.self, DoctorCommand.self, StudyCommand.self,
      ReferenceCommand.self,
    ])

  /// Runs a command; an error in the command line is the same on all ranks, and rank 0 alone prints it.
  static func main() {
    var command: any ParsableCommand
    do {
      try requireUTF8()
      command = try parseAsRoot()
    } catch {
      let status = exitCode(for: error).isSuccess ? ExitCode.success : .validationFailure
      let unknown = status.isSuccess ? nil : UnknownCommand(CommandLine.arguments.dropFirst(), below: self)
      end(unknown.map { ValidationError($0.message) } ?? error, status)
    }
    do {
      try command.run()
    } catch {
      end(error, error is WrongUsage ? .validationFailure : exitCode(for: error))
    }
  }

  private static func end(_ error: any Error, _ status: ExitCode) -> Never {
    if Launch.current.rank == 0 {
      let message = fullMessage(for: error)
      // Help, the version and completion scripts are results.
      if status.isSuccess {
        if !message.isEmpty { print(message) }
      } else if !message.isEmpty {
        FileHandle.standardError.write(Data("\(visibleLines(message))\n".utf8))
      }
    }
    Foundation.exit(status.rawValue)
  }

  /// Throws where an argument is not UTF-8: a repaired name could be that of another file.
  private static func requireUTF8() throws {
    for index in 1..<max(1, Int(CommandLine.argc)) {
      guard let argument = CommandLine.unsafeArgv[index] else { continue }
      guard String(validatingCString: argument) == nil else { continue }
      throw WrongUsage(
        description: "argument \(index): expected UTF-8, found \(visible(String(cString: argument)))")
    }
  }
}

/// A wrong value in the command line, said in one line: the usage would say nothing about it.
struct WrongUsage: Error, CustomStringConvertible {
  let description: String
}

/// Prints `value` as one JSON object on one line of standard output.
func printJSON(_ value: some Encodable) throws {
  print(try jsonLine(value))
}

/// Prints rows of two columns, the first padded to one width.
func printTable(_ rows: [(String, String)]) {
  let width = rows.reduce(0) { max($0, $1.0.count) }
  for (name, value) in rows { print(name.padding(toLength: width + 2, withPad: " ", startingAt: 0) + value) }
}

/// Prints a table in Markdown.
func printMarkdown(_ header: [String], _ rows: [[String]]) {
  for cells in [header, header.map { _ in "---" }] + rows { print("| \(cells.joined(separator: " | ")) |") }
}

/// Three significant digits, or all before the point.
func figure(_ value: Double) -> String {
  String(format: value >= 100 ? "%.0f" : value >= 1 ? "%.3g" : "%.3f", value)
}

/// Writes one line to standard error.
func printMessage(_ line: String) { FileHandle.standardError.write(Data("milm: \(line)\n".utf8)) }
