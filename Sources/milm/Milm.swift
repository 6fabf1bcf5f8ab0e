import ArgumentParser
import Communication
import Foundation
import Platform
import Reporting
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
      ReportCommand.self, CompareCommand.self, WatchCommand.self, SweepCommand.self, KeysCommand.self,
      ImportCommand.self, BenchmarkCommand.self, PlanCommand.self, DoctorCommand.self, StudyCommand.self,
      ReferenceCommand.self,
    ])

  /// Runs a command; an error in the command line is the same on all ranks, and rank 0 alone prints it.
  static func main() {
    StandardStream.prepare()
    reportSuccess()
    var command: any ParsableCommand
    do {
      try requireUTF8()
      command = try parseAsRoot()
    } catch {
      let isWrong = !exitCode(for: error).isSuccess
      let unknown = isWrong ? UnknownCommand(CommandLine.arguments.dropFirst(), below: self) : nil
      end(
        because: unknown.map { ValidationError($0.message) } ?? error, isWrong ? .validationFailure : .success
      )
    }
    do {
      if (command as? any AnswersSignals)?.answersSignals != true { try endAtSignals() }
      try command.run()
    } catch {
      end(because: error, error is WrongUsage ? .validationFailure : exitCode(for: error))
    }
  }

  /// Throws where an argument or the working directory is not UTF-8: a repaired name could be that of another file.
  private static func requireUTF8() throws {
    for index in 1..<max(1, Int(CommandLine.argc)) {
      guard let argument = CommandLine.unsafeArgv[index] else { continue }
      guard String(validatingCString: argument) == nil else { continue }
      throw WrongUsage(
        description: "argument \(index): expected UTF-8, found \(visible(String(cString: argument)))")
    }
    guard let directory = getcwd(nil, 0) else { return }
    defer { free(directory) }
    guard String(validatingCString: directory) == nil else { return }
    throw WrongUsage(
      description: "working directory: expected a path in UTF-8, found \(visible(String(cString: directory)))"
    )
  }

  /// Prints what ArgumentParser has to say, help and version included, and ends with a status.
  private static func end(because error: any Error, _ code: ExitCode) -> Never {
    let status = code.rawValue
    var text = fullMessage(for: error)
    if code.isSuccess, text.hasPrefix("#!/bin/bash") { text += bashWordJoining }
    guard Launch.current.rank == 0, !text.isEmpty else {
      // A launcher ends all ranks when the first one ends, and rank 0 has something to say.
      if Launch.current.rank > 0, code == .validationFailure { Thread.sleep(forTimeInterval: 1) }
      Foundation.exit(status)
    }
    guard status == EXIT_SUCCESS else {
      StandardStream.error.note(text)
      Foundation.exit(status)
    }
    do {
      try printResult(text)
    } catch {
      printMessage("\(error)")
      Foundation.exit(EXIT_FAILURE)
    }
    Foundation.exit(status)
  }
}

/// A wrong value in the command line, said in one line: the usage would say nothing about it.
struct WrongUsage: Error, CustomStringConvertible {
  let description: String
}

/// Prints a line of results.
func printResult(_ line: String = "") throws { try StandardStream.output.print(line) }

/// Prints `value` as one JSON object on one line of standard output.
func printJSON(_ value: some Encodable) throws {
  try printResult(try jsonLine(value))
}

/// Prints rows of two columns, the first padded to one width.
func printTable(_ rows: [(String, String)]) throws {
  let width = rows.reduce(0) { max($0, $1.0.count) }
  for (name, value) in rows {
    try printResult(name.padding(toLength: width + 2, withPad: " ", startingAt: 0) + visible(value))
  }
}

/// Prints a table in Markdown, its columns of one width.
func printMarkdown(_ header: [String], _ rows: [[String]]) throws {
  let rows = ([header] + rows).map { $0.map(visible) }
  let widths = header.indices.map { column in rows.reduce(3) { max($0, $1[column].count) } }
  func padded(_ cells: [String], with pad: String = " ") -> String {
    zip(cells, widths).map { $0.padding(toLength: $1, withPad: pad, startingAt: 0) }.joined(separator: " | ")
  }
  try printResult("| \(padded(rows[0])) |")
  try printResult("| \(padded(header.map { _ in "-" }, with: "-")) |")
  for row in rows.dropFirst() { try printResult("| \(padded(row)) |") }
}

/// Three significant digits, or all before the point.
func figure(_ value: Double) -> String {
  guard abs(value) < 1e9 else { return Readable.decimal(value, 0) }
  return String(format: value >= 100 ? "%.0f" : value >= 1 ? "%.3g" : "%.3f", value)
}

/// Writes one line to standard error.
func printMessage(_ line: String) { StandardStream.error.note("milm: \(line)") }
