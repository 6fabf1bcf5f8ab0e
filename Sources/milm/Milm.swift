import ArgumentParser
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
    StandardStream.prepare()
    reportSuccess()
    do {
      var command = try parseAsRoot()
      try command.run()
    } catch {
      end(because: error)
    }
  }

  /// Prints what ArgumentParser has to say, help and version included, and ends with its status.
  private static func end(because error: any Error) -> Never {
    let status = exitCode(for: error).rawValue
    let text = fullMessage(for: error)
    guard ProcessInfo.processInfo.launchedRank == 0, !text.isEmpty else { Foundation.exit(status) }
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

extension ProcessInfo {
  /// This process's rank as `mpirun` or `srun` passes it, before MPI is initialized.
  var launchedRank: Int {
    (environment["OMPI_COMM_WORLD_RANK"] ?? environment["PMIX_RANK"]).flatMap { Int($0) } ?? 0
  }
}

/// Prints a line of results.
func printResult(_ line: String = "") throws { try StandardStream.output.print(line) }

/// Prints `value` as one JSON object on one line of standard output.
func printJSON(_ value: some Encodable) throws {
  let encoder = JSONEncoder()
  encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
  try printResult(String(decoding: try encoder.encode(value), as: UTF8.self))
}

/// Prints rows of two columns, the first padded to one width.
func printTable(_ rows: [(String, String)]) throws {
  let width = rows.reduce(0) { max($0, $1.0.count) }
  for (name, value) in rows {
    try printResult(name.padding(toLength: width + 2, withPad: " ", startingAt: 0) + value)
  }
}

/// Prints a table in Markdown.
func printMarkdown(_ header: [String], _ rows: [[String]]) throws {
  for cells in [header, header.map { _ in "---" }] + rows {
    try printResult("| \(cells.joined(separator: " | ")) |")
  }
}

/// Three significant digits, or all before the point.
func figure(_ value: Double) -> String {
  String(format: value >= 100 ? "%.0f" : value >= 1 ? "%.3g" : "%.3f", value)
}

/// Writes one line to standard error.
func printMessage(_ line: String) { StandardStream.error.note("milm: \(line)") }
