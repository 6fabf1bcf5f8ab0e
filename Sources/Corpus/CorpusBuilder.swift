import Foundation
import Platform

/// Makes a corpus of texts: vocabulary from the training text, then the tokens of every split.
///
/// Every text is read once, by several threads. The training text's words are numbered as they come, these
/// ids wait in a file for the vocabulary, and are then replaced; so while it is built, a corpus takes twice
/// the space of its training tokens. Memory grows with the number of distinct words alone.
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
      /// Reading the training text and counting its words.
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
  private let check: @Sendable (CorpusDescription) throws -> Void

  /// A builder for texts, plain or compressed (`.zst`, `.gz`, `.zip`); those of a split are read one after the other.
  public init(train: [URL], valid: [URL] = [], test: [URL] = [], options: Options = .init()) {
    let files: [Split: [URL]] = [.train: train, .valid: valid, .test: test]
    self.init(sources: files.mapValues { $0.map(TextSource.file) }, options: options, entropyRate: nil)
  }

  /// - Parameter check: throws where what was built is not what it should be; then nothing is published.
  init(
    sources: [Split: [TextSource]], options: Options, entropyRate: Double?,
    check: @escaping @Sendable (CorpusDescription) throws -> Void = { _ in }
  ) {
    self.sources = sources
    self.options = options
    self.entropyRate = entropyRate
    self.check = check
  }

  /// Builds the corpus and puts it at `output` in one step, in the place
  /// of an earlier corpus if there is one.
  ///
  /// - Parameters:
  ///   - progress: called after every block, from one thread at a time; what it throws stops the build.
  ///   - remark: called with a line about a text that is unusual and probably not meant so.
  /// - Returns: what was written to `corpus.json`.
  /// - Throws: `MilmError`; then nothing is left behind, and an earlier corpus is as it was.
  ///   A folder with anything but a corpus in it is refused.
  @discardableResult
  public func build(
    at output: URL, progress: @escaping (Progress) throws -> Void = { _ in },
    remark: @escaping (String) -> Void = { _ in }
  ) throws -> CorpusDescription {
    try options.vocabulary.validate()
    guard let train = sources[.train], !train.isEmpty else {
      throw MilmError("expected a training text, found none")
    }
    let storedByteCounts = try sources.mapValues { try $0.reduce(0) { try $0 + $1.storedByteCount() } }
    let build = CorpusBuild(
      sources: sources, options: options, folder: try StagedFolder(for: output), remark: remark
    ) { phase, split, byteCount in
      // How much a pipe holds is known at its end.
      let total = max(storedByteCounts[split] ?? 0, byteCount)
      try progress(Progress(phase: phase, doneByteCount: byteCount, totalByteCount: total))
    }
    return try build.run(train: train, entropyRate: entropyRate, check: check)
  }
}
