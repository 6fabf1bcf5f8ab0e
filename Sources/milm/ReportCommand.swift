import ArgumentParser
import Checkpoints
import Foundation
import Platform
import Reporting
import Training

/// `milm report`: the report of a run, or of several side by side, from their files.
struct ReportCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "report",
    abstract: "Writes the report of a run, or of several runs on one page: curves and summary in one file.",
    discussion: """
      Training writes RUN/report.html itself, at every evaluation and checkpoint; for one run this is for copied runs and \
      those of an earlier version. Several runs are drawn into the same charts, over steps, tokens and time, below the \
      table of milm compare.

      Examples:
        milm report run
        milm report lstm multdec multencdec --output comparison.html
      """)

  @OptionGroup var runs: ComparedRunPaths

  @Option(
    help: .init(
      "The file to write (default: RUN/report.html; of several runs comparison.html).", valueName: "FILE"),
    completion: .file(extensions: ["html"]), transform: pathArgument)
  var output: String?

  func run() throws {
    let path = runs.paths[0]
    if try runs.paths.count > 1 || SweepRecord(readingFrom: path) != nil {
      let page = output ?? "comparison.html"
      let comparison = try Comparison(ofRunsAt: runs.paths)
      try comparison.writePage(to: page)
      for caveat in comparison.caveats { printMessage("warning: \(caveat)") }
      return try printTable([("page", page)])
    }
    let run = RunDirectory(path: path)
    try run.requireMetrics()
    let configuration = try? String(contentsOfFile: run.configurationPath, encoding: .utf8)
    try run.files.drawPage(
      title: URL(filePath: path).standardizedFileURL.lastPathComponent,
      configuration: configuration ?? "config.yaml is not there", at: output)
    try printTable([("page", output ?? run.reportPath)])
  }
}
