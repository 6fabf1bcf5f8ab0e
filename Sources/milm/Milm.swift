import ArgumentParser
import Foundation
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
    do {
      var command = try parseAsRoot()
      try command.run()
    } catch {
      if ProcessInfo.processInfo.launchedRank != 0 { Foundation.exit(exitCode(for: error).rawValue) }
      exit(withError: error)
    }
  }
}

extension ProcessInfo {
  /// This process's rank as `mpirun` or `srun` passes it, before MPI is initialized.
  var launchedRank: Int {
    (environment["OMPI_COMM_WORLD_RANK"] ?? environment["PMIX_RANK"]).flatMap { Int($0) } ?? 0
  }
}

/// Prints `value` as one JSON object on one line of standard output.
func printJSON(_ value: some Encodable) throws {
  let encoder = JSONEncoder()
  encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
  print(String(decoding: try encoder.encode(value), as: UTF8.self))
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
