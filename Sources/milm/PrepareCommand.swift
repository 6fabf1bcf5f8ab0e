import ArgumentParser
import Corpus
import Foundation
import Reporting

/// `milm prepare`: text in, corpus out.
struct PrepareCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "prepare",
    abstract: "Builds a corpus, vocabulary and token files, from text.",
    discussion: """
      Words are what white space separates, every line ends with an <eos>, and the vocabulary comes from the \
      training text alone; words outside it become <unk>. With --tokenize raw text is taken apart by \
      WikiText's conventions first.

      Examples:
        milm prepare --train wiki.train.tokens --valid wiki.valid.tokens --test wiki.test.tokens \
      --output corpus
        milm prepare --tokenize --min-count 3 --train book.txt --output corpus
        milm prepare --generate 400000 --output corpus
      """)

  @Option(
    parsing: .upToNextOption,
    help: "Training text, plain or .zst; several files are read one after the other.")
  var train: [String] = []

  @Option(parsing: .upToNextOption, help: "Validation text.")
  var valid: [String] = []

  @Option(parsing: .upToNextOption, help: "Test text.")
  var test: [String] = []

  @Option(help: "The corpus directory to write; an earlier corpus there is replaced.")
  var output: String

  @Option(help: "Keep this many of the most frequent words, <unk> and <eos> among them.")
  var vocabularySize: Int?

  @Option(help: "Keep words that occur at least this often in the training text.")
  var minCount = 1

  @Flag(help: "Take raw text apart into words first.")
  var tokenize = false

  @Option(help: "Instead of reading text, generate this many training tokens of known entropy rate.")
  var generate: Int?

  @Option(help: "The seed of --generate.")
  var seed: UInt64 = 1

  @Flag(help: "Print corpus.json as one line.")
  var json = false

  func validate() throws {
    if train.isEmpty == (generate == nil) {
      throw ValidationError("expected either --train with a text or --generate with a number of tokens")
    }
    if generate != nil, !(valid + test).isEmpty || tokenize || vocabularySize != nil || minCount != 1 {
      throw ValidationError(
        "--generate makes all splits itself: expected no --valid, --test, --tokenize, --vocabulary-size or --min-count"
      )
    }
    if let generate, generate < 1000 {
      throw ValidationError("--generate: expected at least 1000 tokens, found \(generate)")
    }
    if let vocabularySize, vocabularySize < 3 {
      throw ValidationError("--vocabulary-size: expected at least 3 words, found \(vocabularySize)")
    }
    if minCount < 1 { throw ValidationError("--min-count: expected at least 1, found \(minCount)") }
  }

  func run() throws {
    let description = try generate.map(generateCorpus) ?? buildCorpus()
    if json { return try printJSON(description) }
    printTable(summary(description))
  }

  private func generateCorpus(_ tokenCount: Int) throws -> CorpusDescription {
    let rest = max(500, tokenCount / 20)
    return try SyntheticText(seed: seed).writeCorpus(
      at: URL(filePath: output), trainTokenCount: tokenCount, validTokenCount: rest, testTokenCount: rest,
      seed: seed)
  }

  private func buildCorpus() throws -> CorpusDescription {
    let builder = CorpusBuilder(
      train: train.map { URL(filePath: $0) }, valid: valid.map { URL(filePath: $0) },
      test: test.map { URL(filePath: $0) },
      options: .init(
        vocabulary: VocabularySelection(size: vocabularySize, minCount: minCount), tokenizing: tokenize))
    let stages = PrepareStages()
    let description = try builder.build(at: URL(filePath: output)) { stages.update($0) }
    stages.finish()
    return description
  }

  private func summary(_ description: CorpusDescription) -> [(String, String)] {
    var rows = [("corpus", output), ("vocabulary", "\(description.vocabularySize) words")]
    for split in Split.allCases {
      guard let counts = description.counts(of: split) else { continue }
      rows.append(
        (split.rawValue, "\(counts.tokens) tokens, \(counts.lines) lines, \(counts.unknownTokens) <unk>"))
    }
    if let rate = description.entropyRate {
      let perplexity = String(format: "%.3f", exp(rate))
      rows.append(
        ("generated", "entropy rate \(rate) nats a token, so no model gets below perplexity \(perplexity)"))
    }
    return rows
  }
}

/// A progress display for each phase of a build, begun as the phase begins.
///
/// `@unchecked Sendable`: a build reports from one thread at a time.
private final class PrepareStages: @unchecked Sendable {
  private var current: (phase: CorpusBuilder.Progress.Phase, progress: StageProgress)?

  func update(_ progress: CorpusBuilder.Progress) {
    if current?.phase != progress.phase {
      finish()
      current = (
        progress.phase, StageProgress(name(progress.phase), total: progress.totalByteCount, unit: "bytes")
      )
    }
    current?.progress.update(done: progress.doneByteCount)
  }

  func finish() { current?.progress.finish() }

  private func name(_ phase: CorpusBuilder.Progress.Phase) -> String {
    switch phase {
    case .counting: "count words"
    case .encoding(let split): "encode \(split.rawValue)"
    }
  }
}
