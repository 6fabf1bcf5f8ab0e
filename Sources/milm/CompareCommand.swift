import ArgumentParser
import Platform
import Reporting

/// `milm compare`: a table of runs.
struct CompareCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "compare",
    abstract: "Compares runs in one table.",
    discussion: """
      A row has the run's variant, parameters, the configuration keys that differ between the runs, its best perplexity \
      on the validation split, the one on the test split if milm evaluate has scored that checkpoint on it, and its \
      speed. Runs that differ in training.seed alone are one row: their mean with its standard error. Rows are sorted by \
      validation perplexity.

      Examples:
        milm compare lstm multdec multencdec
        milm compare sweep --csv
      """)

  @OptionGroup var runs: ComparedRunPaths

  @Flag(help: "Print the table as one line of JSON.")
  var json = false

  @Flag(help: "Print the table as comma-separated values.")
  var csv = false

  func validate() throws {
    if json, csv { throw ValidationError("expected either --json or --csv, found both") }
  }

  func run() throws {
    let comparison = try Comparison(ofRunsAt: runs.paths)
    if json { return try printJSON(comparison) }
    if csv { return try StandardStream.output.write(visibleLines(comparison.csv)) }
    try comparison.printTable()
  }
}

extension Comparison {
  /// Prints the table for people, and what they should know about it.
  func printTable() throws {
    try printMarkdown(table.header, table.rows)
    for caveat in caveats { printMessage("warning: \(caveat)") }
  }
}
