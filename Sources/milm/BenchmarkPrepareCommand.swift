import ArgumentParser
import Corpus
import Foundation
import Platform
import Reporting

/// `milm benchmark prepare`: speed and peak memory of building a corpus.
struct BenchmarkPrepareCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "prepare",
    abstract: "Times building a corpus: vocabulary and token file.",
    discussion: """
      With --words it first writes a text in which that many distinct words occur twice each.

      Examples:
        milm benchmark prepare --train wiki.train.tokens --vocabulary-size 267735
        milm benchmark prepare --words 5000000 --json
      """)

  @Option(
    help: .init("The text, plain or compressed.", valueName: "FILE"), completion: .file(),
    transform: pathArgument)
  var train: String?

  @Option(help: .init("Generate a text with this many distinct words and use that.", valueName: "N"))
  var words: Int?

  @Option(help: .init("Keep this many of the most frequent words, <unk> and <eos> included.", valueName: "N"))
  var vocabularySize: Int?

  @Flag(help: "Tokenize raw text first.")
  var tokenize = false

  @Option(help: .init("Reading threads (default: the process's cores).", valueName: "N"))
  var threads: Int?

  @Option(help: .init("Number of builds; the fastest one counts.", valueName: "N"))
  var rounds = 3

  @Option(
    name: .customLong("folder"),
    help: ArgumentHelp("The directory for temporary files (default: the system's).", valueName: "DIR"),
    completion: .directory, transform: pathArgument)
  var directory: String?

  @Flag(help: "Print the result as one line of JSON.")
  var json = false

  func validate() throws {
    if (train == nil) == (words == nil) { throw ValidationError("expected either --train or --words") }
    if rounds < 1 { throw ValidationError("--rounds: expected at least 1, found \(rounds)") }
    if let words, !(1...1_000_000_000).contains(words) {
      throw ValidationError("--words: expected 1 to 1000000000, found \(words)")
    }
    if let threads { try requireCount(threads, "--threads", atMost: 1024) }
  }

  func run() throws {
    let own = URL(filePath: directory ?? FileManager.default.temporaryDirectory.path).appendingPathComponent(
      "milm-prepare-\(UUID().uuidString)")
    let temporary = TemporaryEntry(own.path)
    defer { withExtendedLifetime(temporary) {} }
    try makeDirectories(own.path)
    let text = train.map { URL(filePath: $0) } ?? own.appendingPathComponent("words.txt")
    if let words { try BuildBenchmark.writeText(wordCount: words, to: text) }
    var options = CorpusBuilder.Options(vocabulary: .init(size: vocabularySize), tokenizing: tokenize)
    if let threads { options.threadCount = threads }
    let progress = StageProgress("benchmark", total: rounds, unit: "builds")
    let result = try BuildBenchmark(text: text, options: options, directory: own).run(roundCount: rounds) {
      progress.update(done: $0)
    }
    progress.finish()
    try show(result)
  }

  private func show(_ result: BuildBenchmark.Result) throws {
    if json { return try printJSON(result) }
    try printTable([
      ("text", "\(result.bytes) bytes, \(result.tokens) tokens"),
      ("vocabulary", "\(result.vocabulary) words"),
      ("threads", "\(result.threads)"),
      ("seconds per build", result.seconds.map { String(format: "%.2f", $0) }.joined(separator: ", ")),
      ("MB/s", String(format: "%.0f", result.megabytesPerSecond)),
      ("peak memory", String(format: "%.0f MB", result.peakMegabytes)),
    ])
  }
}
