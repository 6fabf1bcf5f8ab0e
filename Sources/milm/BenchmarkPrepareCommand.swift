import ArgumentParser
import Corpus
import Foundation
import Reporting

/// `milm benchmark prepare`: how fast text becomes a corpus, and in how much memory.
struct BenchmarkPrepareCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "prepare",
    abstract: "Times the building of a corpus: vocabulary and token file, on the disk.",
    discussion: """
      With --words a text is written first in which that many different words occur, twice each.

      Examples:
        milm benchmark prepare --train wiki.train.tokens --vocabulary-size 267735
        milm benchmark prepare --words 5000000 --json
      """)

  @Option(help: "The text, plain or compressed.", completion: .file())
  var train: String?

  @Option(help: "Write a text with this many different words and take that.")
  var words: Int?

  @Option(help: "Keep this many of the most frequent words, <unk> and <eos> among them.")
  var vocabularySize: Int?

  @Flag(help: "Take raw text apart into words first.")
  var tokenize = false

  @Option(help: "How many threads read.")
  var threads: Int?

  @Option(help: "How often to build the corpus; the fastest counts.")
  var rounds = 3

  @Option(help: "The folder to write into; all is removed again.", completion: .directory)
  var folder = FileManager.default.temporaryDirectory.path

  @Flag(help: "Print the result as one line of JSON.")
  var json = false

  func validate() throws {
    if (train == nil) == (words == nil) { throw ValidationError("expected either --train or --words") }
    if rounds < 1 { throw ValidationError("--rounds: expected at least 1, found \(rounds)") }
    if let words, !(1...1_000_000_000).contains(words) {
      throw ValidationError("--words: expected 1 to 1000000000, found \(words)")
    }
    if let threads, threads < 1 { throw ValidationError("--threads: expected at least 1, found \(threads)") }
  }

  func run() throws {
    let own = URL(filePath: folder).appendingPathComponent("milm-prepare-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: own, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: own) }
    let text = train.map { URL(filePath: $0) } ?? own.appendingPathComponent("words.txt")
    if let words { try BuildBenchmark.writeText(wordCount: words, to: text) }
    var options = CorpusBuilder.Options(vocabulary: .init(size: vocabularySize), tokenizing: tokenize)
    if let threads { options.threadCount = threads }
    let progress = StageProgress("benchmark", total: rounds, unit: "builds")
    let result = try BuildBenchmark(text: text, options: options, folder: own).run(roundCount: rounds) {
      progress.update(done: $0)
    }
    progress.finish()
    try show(result)
  }

  private func show(_ result: BuildBenchmark.Result) throws {
    if json { return try printJSON(result) }
    printTable([
      ("text", "\(result.bytes) bytes, \(result.tokens) tokens"),
      ("vocabulary", "\(result.vocabulary) words"),
      ("threads", "\(result.threads)"),
      ("seconds a build", result.seconds.map { String(format: "%.2f", $0) }.joined(separator: ", ")),
      ("MB a second", String(format: "%.0f", result.megabytesPerSecond)),
      ("peak memory", String(format: "%.0f MB", result.peakMegabytes)),
    ])
  }
}
