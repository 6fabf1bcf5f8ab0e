import ArgumentParser
import Corpus
import Foundation
import Platform
import Reporting
import Synchronization

/// `milm prepare`: text in, corpus out.
struct PrepareCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "prepare",
    abstract: "Builds a corpus, vocabulary and token files, from text.",
    discussion: """
      Tokens are separated by white space, every line ends with an <eos>, and the vocabulary comes from the training \
      text alone; other words become <unk>. With --tokenize raw text is first tokenized by WikiText's conventions. Texts \
      are UTF-8, plain or compressed with zstd, gzip or zip (one file in the archive), in files or pipes.

      "milm prepare wikitext-103" downloads WikiText-103's archive, resuming an interrupted download, or reads it from \
      --archive, and checks its SHA-256 and the corpus's counts against the published ones.

      Examples:
        milm prepare --train wiki.train.tokens --valid wiki.valid.tokens --test wiki.test.tokens \
      --output corpus
        milm prepare --tokenize --min-count 3 --train book.txt --output corpus
        milm prepare --vocabulary corpus --train letters.txt --output letters
        milm prepare --generate 400000 --output corpus
        milm prepare wikitext-103 --output wikitext-103 --archive wikitext-103-v1.zip
      """)

  /// A published corpus.
  enum Known: String, ExpressibleByArgument, CaseIterable {
    case wikiText103 = "wikitext-103"
  }

  @Argument(
    help: .init("A published corpus to download and build, instead of texts.", valueName: "wikitext-103"))
  var known: Known?

  @Option(
    parsing: .upToNextOption,
    help: .init("Training text; several files are concatenated.", valueName: "FILE"), completion: .file(),
    transform: pathArgument)
  var train: [String] = []

  @Option(
    parsing: .upToNextOption, help: .init("Validation text.", valueName: "FILE"), completion: .file(),
    transform: pathArgument)
  var valid: [String] = []

  @Option(
    parsing: .upToNextOption, help: .init("Test text.", valueName: "FILE"), completion: .file(),
    transform: pathArgument)
  var test: [String] = []

  @Option(
    help: .init("The corpus directory to write; an existing corpus is replaced.", valueName: "CORPUS"),
    completion: .directory,
    transform: pathArgument)
  var output: String

  @Option(help: .init("Keep this many of the most frequent words, <unk> and <eos> included.", valueName: "N"))
  var vocabularySize: Int?

  @Option(
    help: .init(
      "Use the vocabulary of this corpus, run or vocabulary.txt instead of the training text's.",
      valueName: "CORPUS|RUN|FILE"),
    completion: .file(), transform: pathArgument)
  var vocabulary: String?

  @Option(help: .init("Keep words that occur at least this often in the training text.", valueName: "N"))
  var minCount = 1

  @Flag(help: "Tokenize raw text first.")
  var tokenize = false

  @Option(
    help: .init(
      "Generate this many training tokens of known entropy rate, instead of reading text.", valueName: "N"))
  var generate: Int?

  @Option(help: .init("Random seed of --generate.", valueName: "N"))
  var seed: UInt64 = 1

  @Option(
    help: .init("The downloaded archive of the published corpus.", valueName: "FILE"), completion: .file(),
    transform: pathArgument)
  var archive: String?

  @Option(
    name: .customLong("url"),
    help: .init(
      "Address to download the archive from. May be repeated; tried in this order.", valueName: "URL"))
  var urls: [String] = []

  @Option(
    help: .init(
      "The archive's SHA-256 where it differs from the published one; counts are then not checked.",
      valueName: "HEX"))
  var sha256: String?

  @Flag(help: "Print corpus.json as one line.")
  var json = false

  func validate() throws {
    guard [known != nil, !train.isEmpty, generate != nil].count(where: { $0 }) == 1 else {
      throw ValidationError(
        "expected either --train with a text, or --generate with a number of tokens, or wikitext-103")
    }
    try validateKnown()
    if vocabulary != nil, generate != nil || known != nil || vocabularySize != nil || minCount != 1 {
      throw ValidationError(
        "--vocabulary: expected --train, and no --vocabulary-size or --min-count: the vocabulary is given")
    }
    if generate != nil, !(valid + test).isEmpty || tokenize || vocabularySize != nil || minCount != 1 {
      throw ValidationError(
        "--generate writes all splits: expected no --valid, --test, --tokenize, --vocabulary-size or --min-count"
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

  private func validateKnown() throws {
    guard known != nil else {
      if archive != nil || !urls.isEmpty || sha256 != nil {
        throw ValidationError(
          "--archive, --url and --sha256: expected wikitext-103 as first argument")
      }
      return
    }
    if !(valid + test).isEmpty || tokenize || vocabularySize != nil || minCount != 1 {
      throw ValidationError(
        "wikitext-103: expected no --valid, --test, --tokenize, --vocabulary-size or --min-count"
      )
    }
    if archive != nil && !urls.isEmpty {
      throw ValidationError("expected either --archive or --url, found both")
    }
    if let wrong = urls.first(where: { !["http", "https"].contains(URL(string: $0)?.scheme) }) {
      throw ValidationError("--url: expected an http or https address, found \(wrong)")
    }
    if let sha256, sha256.count != 64 || !sha256.allSatisfy(\.isHexDigit) {
      throw ValidationError("--sha256: expected 64 hexadecimal digits, found \(sha256)")
    }
  }

  func run() throws {
    // Before a long download or build.
    try DirectoryKind.corpus.requireOutput(output)
    let description: CorpusDescription
    switch (known, generate) {
    case (.wikiText103, _): description = try buildWikiText103()
    case (nil, let generate?): description = try generateCorpus(generate)
    case (nil, nil): description = try build(textBuilder(try givenVocabulary()))
    }
    if json { return try printJSON(description) }
    try printTable(summary(description))
  }

  private func generateCorpus(_ tokenCount: Int) throws -> CorpusDescription {
    let rest = max(500, tokenCount / 20)
    return try SyntheticText(seed: seed).writeCorpus(
      at: URL(filePath: output), trainTokenCount: tokenCount, validTokenCount: rest, testTokenCount: rest,
      seed: seed)
  }

  /// The vocabulary of --vocabulary; warns where its corpus was tokenized and this one will not be, or the reverse.
  private func givenVocabulary() throws -> Vocabulary? {
    guard let vocabulary else { return nil }
    try requireVocabulary(at: vocabulary)
    guard case .directory = try FileEntry(at: vocabulary, followingLinks: true) else {
      return try Vocabulary(contentsOf: URL(filePath: vocabulary))
    }
    let file = "\(vocabulary)/vocabulary.txt"
    if case .absent = try FileEntry(at: file, followingLinks: true) {
      throw MilmError(
        vocabulary, expected: "a corpus or a run, with a vocabulary.txt, or a file",
        found: "a directory without")
    }
    if case .file = try FileEntry(at: "\(vocabulary)/corpus.json", followingLinks: true),
      try CorpusDescription(readingFrom: URL(filePath: vocabulary)).tokenized != tokenize
    {
      printMessage(
        "warning: \(vocabulary) was prepared \(tokenize ? "without" : "with") --tokenize, this text is not: words that "
          + "are spelled alike may be split differently")
    }
    return try Vocabulary(contentsOf: URL(filePath: file))
  }

  private func textBuilder(_ given: Vocabulary?) -> CorpusBuilder {
    CorpusBuilder(
      train: train.map { URL(filePath: $0) }, valid: valid.map { URL(filePath: $0) },
      test: test.map { URL(filePath: $0) },
      options: .init(
        vocabulary: VocabularySelection(size: vocabularySize, minCount: minCount), given: given,
        tokenizing: tokenize))
  }

  private func build(_ builder: CorpusBuilder) throws -> CorpusDescription {
    let stages = PrepareStages()
    let description = try builder.build(at: URL(filePath: output)) {
      stages.update($0)
    } remark: {
      StandardStream.error.note("prepare: \($0)")
    }
    stages.finish()
    return description
  }

  private func buildWikiText103() throws -> CorpusDescription {
    let download = Download(
      addresses: urls.isEmpty ? WikiText103.addresses : urls.compactMap { URL(string: $0) },
      sha256: sha256 ?? WikiText103.sha256, byteCount: sha256 == nil ? WikiText103.byteCount : nil,
      advice: "fetch wikitext-103-v1.zip elsewhere and give it with --archive FILE")
    let isPublished = sha256 == nil
    if let archive {
      let file = URL(filePath: archive)
      try download.verify(file)
      return try build(WikiText103.builder(archive: file, isPublished: isPublished))
    }
    // Beside the corpus, so that what was fetched outlives an interruption; a corpus's directory holds nothing else.
    let file = URL(filePath: output + ".zip")
    try fetch(download, to: file)
    let description = try build(WikiText103.builder(archive: file, isPublished: isPublished))
    try FileManager.default.removeItem(at: file)
    return description
  }

  private func fetch(_ download: Download, to file: URL) throws {
    let progress = Mutex<StageProgress?>(nil)
    defer { progress.withLock { $0?.finish() } }
    try download.fetch(to: file) { done, total in
      progress.withLock {
        let stage = $0 ?? StageProgress("download", total: total, unit: "bytes")
        stage.update(done: done)
        $0 = stage
      }
    }
  }

  private func summary(_ description: CorpusDescription) -> [(String, String)] {
    var rows = [("corpus", output), ("vocabulary", "\(description.vocabularySize) words")]
    for split in Split.allCases {
      guard let counts = description.counts(of: split) else { continue }
      rows.append(
        (split.rawValue, "\(counts.tokens) tokens, \(counts.lines) lines, \(counts.unknownTokens) <unk>"))
    }
    if let rate = description.entropyRate {
      let perplexity = Readable.decimal(exp(rate), 3)
      rows.append(
        ("generated", "entropy rate \(rate) nats per token (lower bound of perplexity \(perplexity))"))
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
