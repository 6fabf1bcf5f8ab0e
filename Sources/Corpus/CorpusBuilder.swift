import Foundation

/// Makes a corpus of texts: vocabulary from the training text, then the tokens of every split.
///
/// Each text is read with several threads, and the training text twice, so it must be a file and not a pipe.
/// Memory grows with the number of distinct words and not with the length of the texts.
public struct CorpusBuilder: Sendable {
  /// How texts become words and words a vocabulary.
  public struct Options: Sendable {
    /// Which words of the training text become the vocabulary.
    public var vocabulary: VocabularySelection
    /// Whether the texts are raw, so that `Tokenizer` takes them apart first.
    public var tokenizing: Bool
    /// How many threads read; the result does not depend on it.
    public var threadCount: Int

    /// By default all words, of texts whose words are separated already.
    public init(
      vocabulary: VocabularySelection = .init(), tokenizing: Bool = false,
      threadCount: Int = ProcessInfo.processInfo.activeProcessorCount
    ) {
      self.vocabulary = vocabulary
      self.tokenizing = tokenizing
      self.threadCount = threadCount
    }
  }

  /// How far a build is.
  public struct Progress: Equatable, Sendable {
    /// What is being done.
    public enum Phase: Equatable, Sendable {
      /// Counting the words of the training text.
      case counting
      /// Writing the tokens of a split.
      case encoding(Split)
    }

    /// What is being done.
    public let phase: Phase
    /// Bytes read in this phase, as the files are stored.
    public let doneByteCount: Int
    /// Bytes to read in this phase, as the files are stored.
    public let totalByteCount: Int
  }

  private let sources: [Split: [TextSource]]
  private let options: Options
  private let entropyRate: Double?

  /// A builder for texts, plain or compressed (`.zst`); those of a split are read one after the other.
  public init(train: [URL], valid: [URL] = [], test: [URL] = [], options: Options = .init()) {
    let files: [Split: [URL]] = [.train: train, .valid: valid, .test: test]
    self.init(sources: files.mapValues { $0.map(TextSource.file) }, options: options, entropyRate: nil)
  }

  init(sources: [Split: [TextSource]], options: Options, entropyRate: Double?) {
    self.sources = sources
    self.options = options
    self.entropyRate = entropyRate
  }

  /// Builds the corpus and puts it at `output` in one step, in the place
  /// of an earlier corpus if there is one.
  ///
  /// - Parameter progress: called after every block, from one thread at a time;
  ///   what it throws stops the build.
  /// - Returns: what was written to `corpus.json`.
  /// - Throws: `CorpusError`; then nothing is left behind, and an earlier corpus is as it was.
  ///   A folder with anything but a corpus in it is refused.
  @discardableResult
  public func build(
    at output: URL, progress: @escaping (Progress) throws -> Void = { _ in }
  ) throws -> CorpusDescription {
    try options.vocabulary.validate()
    guard let train = sources[.train], !train.isEmpty else {
      throw CorpusError("expected a training text, found none")
    }
    let storedByteCounts = try sources.mapValues { try $0.reduce(0) { try $0 + $1.storedByteCount() } }
    let report = { (phase: Progress.Phase, split: Split) in
      { (byteCount: Int) in
        let total = storedByteCounts[split] ?? 0
        try progress(Progress(phase: phase, doneByteCount: byteCount, totalByteCount: total))
      }
    }
    let folder = try StagedFolder(for: output)
    let (vocabulary, trainTokenCount) = try makeVocabulary(of: train, onRead: report(.counting, .train))
    try vocabulary.write(to: folder.url.appendingPathComponent(Corpus.vocabularyFileName))
    let encoded = try Split.allCases.compactMap { split in
      try encode(split, with: vocabulary, into: folder.url, onRead: report(.encoding(split), split))
    }
    if let again = encoded.first?.counts.tokens, again != trainTokenCount {
      throw CorpusError(
        "expected \(trainTokenCount) tokens again in \(names(train)), found \(again): it changed meanwhile")
    }
    let description = CorpusDescription(
      formatVersion: CorpusDescription.currentFormatVersion, sources: encoded.flatMap(\.sources),
      splits: Dictionary(uniqueKeysWithValues: encoded.map { ($0.split.rawValue, $0.counts) }),
      vocabularySize: vocabulary.count, vocabularyHash: vocabulary.hash, tokenized: options.tokenizing,
      entropyRate: entropyRate)
    try description.write(into: folder.url)
    try folder.publish()
    return description
  }

  private struct EncodedSplit {
    let split: Split
    let counts: CorpusDescription.SplitCounts
    let sources: [CorpusDescription.Source]
  }

  private func makeVocabulary(
    of texts: [TextSource], onRead: @escaping (Int) throws -> Void
  ) throws -> (vocabulary: Vocabulary, tokenCount: Int) {
    let workers = (0..<max(1, options.threadCount)).map { _ in WordCounter() }
    _ = try pipeline(texts, hashing: false, onRead: onRead).run(workers)
    let counts = WordCounter.total(of: workers)
    guard !counts.counts.isEmpty else { throw CorpusError("expected words in \(names(texts)), found none") }
    let tokenCount = counts.tokenCount
    return (try Vocabulary(counts, selection: options.vocabulary), tokenCount)
  }

  /// Writes the token file of a split; nil if the corpus has no such split.
  private func encode(
    _ split: Split, with vocabulary: Vocabulary, into folder: URL, onRead: @escaping (Int) throws -> Void
  ) throws -> EncodedSplit? {
    guard let texts = sources[split], !texts.isEmpty else { return nil }
    let writer = try TokenFileWriter(
      folder.appendingPathComponent(split.tokenFileName), vocabularyCount: vocabulary.count)
    let workers = (0..<max(1, options.threadCount)).map { _ in
      BlockEncoder(vocabulary) { try writer.append($0) }
    }
    let digests = try pipeline(texts, hashing: true, onRead: onRead).run(workers)
    let counts = BlockEncoder.total(of: workers)
    guard counts.tokenCount > 0 else { throw CorpusError("expected lines in \(names(texts)), found none") }
    try writer.finish()
    let sources = zip(texts, digests).map {
      CorpusDescription.Source(split: split, path: $0.name, sha256: $1)
    }
    let splitCounts = CorpusDescription.SplitCounts(
      lines: counts.lineCount, tokens: counts.tokenCount, unknownTokens: counts.unknownTokenCount)
    return EncodedSplit(split: split, counts: splitCounts, sources: sources)
  }

  private func pipeline(
    _ texts: [TextSource], hashing: Bool, onRead: @escaping (Int) throws -> Void
  ) -> TextPipeline {
    TextPipeline(
      texts, tokenizer: options.tokenizing ? Tokenizer() : nil, hashing: hashing, onRead: onRead)
  }

  private func names(_ texts: [TextSource]) -> String { texts.map(\.name).joined(separator: ", ") }
}
