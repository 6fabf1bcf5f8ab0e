import ArgumentParser
import Checkpoints
import Corpus
import Evaluation
import Foundation
import LanguageModel
import Platform
import Tensors
import Training

/// `milm generate`: text from a checkpoint.
struct GenerateCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "generate",
    abstract: "Samples text from a checkpoint's model.",
    discussion: """
      Example:
        milm generate run --prompt "The city of" --tokens 100 --temperature 0.8 --seed 7
      """)

  @Argument(
    help: .init("A checkpoint or a run.", valueName: "RUN"), completion: .checkpoints, transform: pathArgument
  )
  var path: String

  @Option(
    help: .init("The corpus directory; required only for a checkpoint outside its run.", valueName: "CORPUS"),
    completion: .corpora,
    transform: pathArgument)
  var corpus: String?

  @Option(help: .init("The text to continue, tokenized like the corpus.", valueName: "TEXT"))
  var prompt = ""

  @Option(help: .init("Tokens to sample.", valueName: "N"))
  var tokens = 100

  @Option(help: .init("Sampling temperature; 0 takes the most probable token.", valueName: "X"))
  var temperature = 1.0

  @Option(help: .init("Sample from the k most probable tokens; 0 turns it off.", valueName: "N"))
  var topK = 0

  @Option(
    help: .init("Sample from the most probable tokens that together reach this probability.", valueName: "X"))
  var topP = 1.0

  @Option(help: .init("Random seed.", valueName: "N"))
  var seed: UInt64 = 1

  func validate() throws {
    if tokens < 1 { throw ValidationError("--tokens: expected at least 1, found \(tokens)") }
    guard temperature >= 0, temperature.isFinite else {
      throw ValidationError("--temperature: expected 0 or more, found \(temperature)")
    }
    if topK < 0 { throw ValidationError("--top-k: expected 0 or more, found \(topK)") }
    guard topP > 0, topP <= 1 else {
      throw ValidationError("--top-p: expected above 0 and at most 1, found \(topP)")
    }
  }

  func run() throws {
    let choice = try CheckpointChoice(path)
    choice.printWarnings()
    let checkpoint = choice.checkpoint
    try checkpoint.verify()
    let vocabulary = try checkpoint.vocabulary(corpus: corpus)
    let loaded = try LoadedModel(checkpoint, configuration: RunConfiguration(checkpoint).model)
    let encoded = try vocabulary.encode(
      prompt, tokenizing: checkpoint.state.isTokenized, endsLastLine: false)
    let promptTokens = encoded.tokens.ids
    if encoded.unknownTokenCount > 0 {
      printMessage(
        "warning: \(encoded.unknownTokenCount) of the prompt's \(promptTokens.count) tokens are not in the vocabulary "
          + "and are read as <unk>: expected words of the corpus, spelled and tokenized like it")
    }

    var settings = Sampler.Settings()
    settings.temperature = temperature
    settings.topK = topK
    settings.topP = topP
    settings.excludedToken = vocabulary.unknownID
    let sampler = Sampler(
      loaded.model, parameters: loaded.weights, settings: settings, seed: seed,
      engine: try ComputeEngine(threadCount: Processors.allowed.threadCount(sharedBy: 1)))
    // A text begins after the end of another, as in training.
    sampler.read(vocabulary.endOfSentenceID)
    for token in promptTokens {
      sampler.read(token)
      try show(token, vocabulary)
    }
    for _ in 0..<tokens {
      let token = try sampler.draw()
      sampler.read(token)
      try show(token, vocabulary)
    }
    try printResult()
  }

  private func show(_ token: Int32, _ vocabulary: Vocabulary) throws {
    let text = token == vocabulary.endOfSentenceID ? "\n" : visible(vocabulary.word(token)) + " "
    try StandardStream.output.write(text)
  }
}
