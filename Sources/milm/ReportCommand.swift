import ArgumentParser
import Checkpoints
import Foundation
import Platform
import Reporting
import Training

/// `milm report`: draws the page of a run from its files.
struct ReportCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "report",
    abstract: "Draws the page of a run again: curves and summary, one file without network.",
    discussion: """
      Training writes RUN/report.html itself, at every evaluation and checkpoint; this is for runs that are copied, or of
      an earlier program.

      Examples:
        milm report run
        milm report run --output report.html
      """)

  @Argument(help: "A run.", completion: .directory)
  var path: String

  @Option(help: "The file to write; report.html in the run where none is given.", completion: .file())
  var output: String?

  func run() throws {
    let run = RunDirectory(path: path)
    guard FileManager.default.fileExists(atPath: run.metricsPath) else {
      throw MilmError("no run at \(path): expected metrics.jsonl in it")
    }
    let configuration = try? String(contentsOfFile: run.configurationPath, encoding: .utf8)
    try run.files.drawPage(
      title: URL(filePath: path).standardizedFileURL.lastPathComponent,
      configuration: configuration ?? "config.yaml is not there", at: output)
    printTable([("page", output ?? run.reportPath)])
  }
}
