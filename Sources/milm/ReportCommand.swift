import ArgumentParser
import Checkpoints
import Foundation
import Platform
import Reporting
import Training

/// `milm report`: the report of a run, from its files.
struct ReportCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "report",
    abstract: "Writes the report of a run: curves and summary in one file.",
    discussion: """
      Training writes RUN/report.html itself, at every evaluation and checkpoint; this is for copied runs and those of an \
      earlier version.

      Examples:
        milm report run
        milm report run --output report.html
      """)

  @Argument(help: "A run.", completion: .directory, transform: pathArgument)
  var path: String

  @Option(help: "The file to write (default: RUN/report.html).", completion: .file(), transform: pathArgument)
  var output: String?

  func run() throws {
    let run = RunDirectory(path: path)
    if case .absent = try FileEntry(at: run.metricsPath, followingLinks: true) {
      throw MilmError(
        "\(path): expected a run with metrics.jsonl, found none; milm train makes a run, on a corpus that milm prepare builds"
      )
    }
    let configuration = try? String(contentsOfFile: run.configurationPath, encoding: .utf8)
    try run.files.drawPage(
      title: URL(filePath: path).standardizedFileURL.lastPathComponent,
      configuration: configuration ?? "config.yaml is not there", at: output)
    try printTable([("page", output ?? run.reportPath)])
  }
}
