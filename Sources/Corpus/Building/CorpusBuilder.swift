import Foundation
import Platform

/// Builds a corpus from texts: the vocabulary from the training text, then the tokens of every split.
///
/// Every text is read once, by several threads. Provisional ids of the training text are kept in a file until
/// the vocabulary is known, so building takes twice the disk space of the training tokens. Memory grows only
/// with the number of distinct words.
package struct CorpusBuilder: Sendable {
  /// How texts are split into words, and which words become the vocabulary.
  package struct Options: Sendable {
    /// The words that become the vocabulary.
    package var vocabulary: VocabularySelection
    /// A vocabulary that is given and not selected from the training text.
    package var given: Vocabulary?
    /// Whether the texts are raw and must be tokenized first.
    package var tokenizing: Bool
    /// The number of threads; the result does not depend on it.
    package var threadCount: Int

    /// Default: all words of tokenized texts, all processors.
    package init(
      vocabulary: VocabularySelection = .init(), given: Vocabulary? = nil, tokenizing: Bool = false,
      threadCount: Int = Processors.allowed.usableCount
    ) {
      self.vocabulary = vocabulary
      self.given = given
      self.tokenizing = tokenizing
      self.threadCount = threadCount
    }
  }

  /// The progress of a build.
  package struct Progress: Equatable, Sendable {
    /// The current pass over a text.
    package enum Phase: Equatable, Sendable {
      /// Reading the training text and counting its words.
      case counting
      /// Writing the tokens of a split.
      case encoding(Split)
    }

    /// The current phase.
    package let phase: Phase
    /// Bytes read in this phase, as stored.
    package let doneByteCount: Int
    /// Bytes to read in this phase, as stored.
    package let totalByteCount: Int
  }

  private let sources: [Split: [TextSource]]
  private let options: Options
  private let entropyRate: Double?
  private let check: @Sendable (CorpusDescription) throws -> Void

  /// A builder for texts, plain or compressed (zstd, gzip, zip); the texts of a split are concatenated.
  package init(train: [URL], valid: [URL] = [], test: [URL] = [], options: Options = .init()) {
    let files: [Split: [URL]] = [.train: train, .valid: valid, .test: test]
    self.init(sources: files.mapValues { $0.map(TextSource.file) }, options: options, entropyRate: nil)
  }

  /// - Parameter check: throws if the result is not as expected; then nothing is published.
  init(
    sources: [Split: [TextSource]], options: Options, entropyRate: Double?,
    check: @escaping @Sendable (CorpusDescription) throws -> Void = { _ in }
  ) {
    self.sources = sources
    self.options = options
    self.entropyRate = entropyRate
    self.check = check
  }

  /// Builds the corpus and publishes it at `output` atomically, replacing an earlier corpus.
  ///
  /// - Parameters:
  ///   - progress: called after every block, from one thread at a time; if it throws, the build stops.
  ///   - remark: called with a line about a text that is unusual and probably not intended.
  /// - Returns: the content of `corpus.json`.
  /// - Throws: an error after which nothing is left behind and an earlier corpus is unchanged.
  ///   A directory that holds anything but a corpus is refused.
  @discardableResult
  package func build(
    at output: URL, progress: @escaping (Progress) throws -> Void = { _ in },
    remark: @escaping (String) -> Void = { _ in }
  ) throws -> CorpusDescription {
    try options.vocabulary.validate()
    guard let train = sources[.train], !train.isEmpty else {
      throw MilmError("expected a training text, found none")
    }
    let storedByteCounts = try sources.mapValues { try $0.reduce(0) { try $0 + $1.storedByteCount() } }
    let build = CorpusBuild(
      sources: sources, options: options, directory: try StagedDirectory(for: output), remark: remark
    ) { phase, split, byteCount in
      // The size of a pipe is known only at its end.
      let total = max(storedByteCounts[split] ?? 0, byteCount)
      try progress(Progress(phase: phase, doneByteCount: byteCount, totalByteCount: total))
    }
    return try build.run(train: train, entropyRate: entropyRate, check: check)
  }
}

/// One build, in a directory that is published when it is complete.
struct CorpusBuild {
  let sources: [Split: [TextSource]]
  let options: CorpusBuilder.Options
  let directory: StagedDirectory
  let remark: (String) -> Void
  let report: (_ phase: CorpusBuilder.Progress.Phase, Split, _ storedByteCount: Int) throws -> Void

  /// Builds everything, then publishes the directory unless `check` throws.
  func run(
    train: [TextSource], entropyRate: Double?, check: (CorpusDescription) throws -> Void
  ) throws -> CorpusDescription {
    let training = try options.given.map { try encodeTraining(train, in: $0) } ?? encodeTraining(train)
    var encoded = [training.split]
    for split in [Split.valid, .test] {
      guard let texts = sources[split], !texts.isEmpty else { continue }
      encoded.append(
        try encode(split, texts, index: training.index, vocabularyCount: training.vocabularyCount))
    }
    let description = CorpusDescription(
      formatVersion: CorpusDescription.currentFormatVersion, sources: encoded.flatMap(\.sources),
      splits: Dictionary(uniqueKeysWithValues: encoded.map { ($0.split.rawValue, $0.counts) }),
      vocabularySize: training.vocabularyCount, vocabularyHash: training.vocabularyHash,
      tokenized: options.tokenizing, entropyRate: entropyRate)
    try check(description)
    try description.write(into: directory.url)
    try directory.publish()
    return description
  }

  private struct EncodedSplit {
    let split: Split
    let counts: CorpusDescription.SplitCounts
    let sources: [CorpusDescription.Source]
  }

  private struct Training {
    let split: EncodedSplit
    let index: WordIndex
    let vocabularyCount: Int
    let vocabularyHash: String
  }

  private var threadCount: Int { max(1, options.threadCount) }

  // MARK: The training text

  private func encodeTraining(_ texts: [TextSource]) throws -> Training {
    let scratch = try ScratchFile(in: directory.url)
    let blocks = self.blocks(texts) { try report(.counting, .train, $0) }
    let counters = (0..<threadCount).map { WordCounter($0, blocks, keepingIDsIn: scratch) }
    try OrderedWork.run(counters)
    var counts = counters.reduce(EncodingCounts()) { $0 + $1.counts }
    guard counts.tokenCount > counts.lineCount else {
      throw MilmError("expected words in \(names(texts)), found none")
    }
    var words = counters[0].removeWords()
    let translations = counters.dropFirst().map { merge($0.removeWords(), into: &words) }
    let ranking = try WordRanking(&words, lineCount: counts.lineCount, selection: options.vocabulary)
    let hash = try writeVocabulary(ranking, words)
    let ids = ranking.finalIDs(tableCount: words.count)
    func finalIDs(_ ids: [Int32]) -> FinalIDs {
      FinalIDs(ids, unknownID: ranking.unknownID, endOfSentenceID: ranking.endOfSentenceID)
    }
    let allIDs = finalIDs(ids)
    let storedByteCount = blocks.storedByteCount
    counts.unknownTokenCount = try renumber(
      scratch, finalIDs: [allIDs] + translations.map { finalIDs($0.map { ids[Int($0)] }) },
      vocabularyCount: ranking.order.count
    ) { try report(.encoding(.train), .train, storedByteCount * $0 / counts.tokenCount) }
    return Training(
      split: described(.train, texts, blocks, counts), index: WordIndex(words, finalIDs: allIDs),
      vocabularyCount: ranking.order.count, vocabularyHash: hash)
  }

  /// Encodes the training text in a vocabulary that is given.
  private func encodeTraining(_ texts: [TextSource], in vocabulary: Vocabulary) throws -> Training {
    try vocabulary.write(to: directory.url.appendingPathComponent(Corpus.vocabularyFileName))
    let split = try encode(
      .train, texts, index: vocabulary.index, vocabularyCount: vocabulary.count)
    guard split.counts.tokens > split.counts.lines else {
      throw MilmError("expected words in \(names(texts)), found none")
    }
    return Training(
      split: split, index: vocabulary.index, vocabularyCount: vocabulary.count,
      vocabularyHash: vocabulary.hash)
  }

  /// Adds one counter's words to `all` and returns their ids there.
  private func merge(_ words: consuming WordTable, into all: inout WordTable) -> [Int32] {
    (0..<words.count).map { all.add(words.bytes(of: $0), count: words.occurrenceCount(of: $0)) }
  }

  private func writeVocabulary(_ ranking: WordRanking, _ words: borrowing WordTable) throws -> String {
    let bytes = ranking.fileBytes(words)
    try AtomicFile.write(
      bytes.bytes, to: directory.url.appendingPathComponent(Corpus.vocabularyFileName).path)
    return Vocabulary.hash(of: bytes.bytes)
  }

  /// Writes the training tokens and returns how many of them are `<unk>`.
  private func renumber(
    _ scratch: ScratchFile, finalIDs: [FinalIDs], vocabularyCount: Int,
    onWrite: @escaping (_ tokenCount: Int) throws -> Void
  ) throws -> Int {
    try scratch.rewind()
    let writer = try tokenFileWriter(.train, vocabularyCount: vocabularyCount)
    let renumberers = (0..<threadCount).map { _ in
      TokenRenumberer(scratch, finalIDs: finalIDs, writer: writer, onWrite: onWrite)
    }
    try OrderedWork.run(renumberers)
    try writer.finish()
    return renumberers.reduce(0) { $0 + $1.unknownTokenCount }
  }

  // MARK: Texts in a known vocabulary

  private func encode(
    _ split: Split, _ texts: [TextSource], index: WordIndex, vocabularyCount: Int
  ) throws -> EncodedSplit {
    let writer = try tokenFileWriter(split, vocabularyCount: vocabularyCount)
    let blocks = self.blocks(texts) { try report(.encoding(split), split, $0) }
    let counts = try BlockEncoder.encode(blocks, index: index, threadCount: threadCount) {
      try writer.append($0)
    }
    guard counts.tokenCount > 0 else { throw MilmError("expected lines in \(names(texts)), found none") }
    try writer.finish()
    return described(split, texts, blocks, counts)
  }

  // MARK: Common

  private func blocks(_ texts: [TextSource], onRead: @escaping (Int) throws -> Void) -> TextBlocks {
    TextBlocks(texts, tokenizer: options.tokenizing ? Tokenizer() : nil, hashing: true, onRead: onRead)
  }

  private func tokenFileWriter(_ split: Split, vocabularyCount: Int) throws -> TokenFileWriter {
    try TokenFileWriter(
      directory.url.appendingPathComponent(split.tokenFileName), vocabularyCount: vocabularyCount)
  }

  private func described(
    _ split: Split, _ texts: [TextSource], _ blocks: TextBlocks, _ counts: EncodingCounts
  ) -> EncodedSplit {
    if counts.loneReturnCount > 0 {
      remark(
        "\(names(texts)): \(counts.loneReturnCount) carriage returns do not end a line; they count as white space"
      )
    }
    let sources = zip(texts, blocks.digests).map {
      CorpusDescription.Source(split: split, path: $0.name, sha256: $1)
    }
    let splitCounts = CorpusDescription.SplitCounts(
      lines: counts.lineCount, tokens: counts.tokenCount, unknownTokens: counts.unknownTokenCount)
    return EncodedSplit(split: split, counts: splitCounts, sources: sources)
  }

  private func names(_ texts: [TextSource]) -> String { texts.map(\.name).joined(separator: ", ") }
}
