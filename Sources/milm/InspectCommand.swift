import ArgumentParser
import Checkpoints
import Corpus
import Foundation
import LanguageModel
import Layers
import Platform
import Reporting
import Training

/// `milm inspect`: the contents of a configuration, a checkpoint, a run or a corpus.
struct InspectCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "inspect",
    abstract: "Shows shapes, parameters and counts, and verifies checksums.",
    discussion: """
      Examples:
        milm inspect configs/wikitext103-multencdec.yaml
        milm inspect run
        milm inspect corpus --json
      """)

  @Argument(
    help: .init("A checkpoint, a run, a corpus or a configuration file.", valueName: "RUN|CORPUS|CONFIG"),
    completion: .file(),
    transform: pathArgument)
  var path: String

  @OptionGroup var vocabulary: AssumedVocabulary

  @Flag(help: "Print the result as one line of JSON.")
  var json = false

  func run() throws {
    switch try FileEntry(at: path, followingLinks: true) {
    case .absent:
      throw MilmError(
        "\(path): expected a checkpoint, a run, a corpus or a configuration, found nothing; milm prepare builds a corpus, and "
          + "milm train a run on it")
    case .directory:
      if case .absent = try FileEntry(at: "\(path)/corpus.json") { return try inspectCheckpoint() }
      try inspectCorpus()
    default: try inspectConfiguration()
    }
  }

  private func inspectCorpus() throws {
    let corpus = try Corpus(opening: URL(filePath: path), verification: .full)
    if json { return try printJSON(corpus.description) }
    var rows = [
      ("corpus", "\(path), verified"),
      ("vocabulary", "\(corpus.vocabulary.count) words, hash \(corpus.vocabulary.hash)"),
    ]
    for split in Split.allCases {
      guard let counts = corpus.description.counts(of: split) else { continue }
      rows.append(
        (split.rawValue, "\(counts.tokens) tokens, \(counts.lines) lines, \(counts.unknownTokens) <unk>"))
    }
    try printTable(rows)
  }

  private func inspectCheckpoint() throws {
    let choice = try CheckpointChoice(path)
    choice.printWarnings()
    let checkpoint = choice.checkpoint
    try checkpoint.verify()
    let configuration = try RunConfiguration(checkpoint)
    let size = try checkpoint.tensors(.model).shape(of: "embedding.weight")[0]
    let state = checkpoint.state
    try show(
      Model(configuration.model, vocabularySize: size, choice: choice),
      heading: [
        ("checkpoint", "\(checkpoint.path), verified"),
        ("chosen", choice.reason),
        ("step", "\(state.step), \(state.tokenCount) tokens, \(state.skippedStepCount) steps skipped"),
        ("best", bestCheckpoint(choice)),
        (
          "written by",
          "milm \(state.programVersion), \(state.rankCount) ranks of \(state.threadCount) threads, "
            + "\(state.engine) \(state.cpuLevel)"
        ),
      ] + (state.initialWeights.map { [("started from", "\($0.path), sha256 \($0.sha256)")] } ?? []))
  }

  private func bestCheckpoint(_ choice: CheckpointChoice) -> String {
    let step = choice.checkpoint.state.step
    guard let best = choice.newest.best, !choice.isBest || best.step == step else {
      return choice.isBest ? "step \(step); its perplexity is in metrics.jsonl alone" : "none yet"
    }
    return "valid perplexity \(Readable.decimal(best.perplexity, 4)) at step \(best.step)"
  }

  private func inspectConfiguration() throws {
    let configuration = try RunConfiguration(contentsOf: path)
    try show(
      Model(
        configuration.model, vocabularySize: vocabulary.size, choice: nil,
        assumptions: vocabulary.assumptions(corpus: nil)),
      heading: [("configuration", path), ("vocabulary", "\(vocabulary.size) words")])
  }

  private func show(_ model: Model, heading: [(String, String)]) throws {
    if json { return try printJSON(model) }
    try printTable(
      heading + [("variant", model.variant), ("parameters", "\(model.parameters)")]
        + model.assumptions.map { ("note", $0) })
    try printResult()
    try printTable(
      model.tensors.map { tensor in
        (tensor.name, tensor.shape.map(String.init).joined(separator: " × ") + "  = \(tensor.parameters)")
      })
  }

  /// The object that `--json` prints.
  private struct Model: Encodable {
    struct Tensor: Encodable {
      let name: String
      let shape: [Int]
      let parameters: Int
      let learningRateScale: Float
    }

    let variant: String
    let form: String
    let vocabularySize: Int
    let parameters: Int
    let tensors: [Tensor]
    let checkpoint: String?
    let step: Int?
    let checkpointReason: String?
    let bestStep: Int?
    let bestPerplexity: Double?
    /// Values assumed for missing arguments, one line each.
    let assumptions: [String]

    init(
      _ configuration: ModelConfiguration, vocabularySize: Int, choice: CheckpointChoice?,
      assumptions: [String] = []
    ) {
      let list = LanguageModel(configuration, vocabularySize: vocabularySize).parameters
      variant = configuration.variant.rawValue
      form = configuration.form.rawValue
      self.vocabularySize = vocabularySize
      parameters = list.parameterCount
      tensors = list.parameters.map {
        Tensor(name: $0.name, shape: $0.shape, parameters: $0.count, learningRateScale: $0.learningRateScale)
      }
      checkpoint = choice?.checkpoint.path
      step = choice?.checkpoint.state.step
      checkpointReason = choice?.reason
      bestStep = choice?.newest.best?.step
      bestPerplexity = choice?.newest.best?.perplexity
      self.assumptions = assumptions
    }
  }
}
