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
    abstract: "Continues a text with words drawn from a checkpoint's model.",
    discussion: """
      Example:
        milm generate run --prompt "The city of" --tokens 100 --temperature 0.8 --seed 7
      """)

  @Argument(help: "A checkpoint or a run.", completion: .directory)
  var path: String

  @Option(
    help: "The corpus directory; needed only for a checkpoint outside its run.", completion: .directory)
  var corpus: String?

  @Option(help: "The text to continue, taken apart as prepare --tokenize does where the corpus was.")
  var prompt = ""

  @Option(help: "How many tokens to draw.")
  var tokens = 100

  @Option(help: "What logits are divided by; 0 always takes the likeliest word.")
  var temperature = 1.0

  @Option(help: "Draw from this many of the likeliest words; 0 for all.")
  var topK = 0

  @Option(help: "Draw from the likeliest words that together reach this probability.")
  var topP = 1.0

  @Option(help: "The same seed gives the same text.")
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
    let checkpoint = try Checkpoint.open(path)
    try checkpoint.verify()
    let vocabulary = try checkpoint.vocabulary(corpus: corpus)
    let loaded = try LoadedModel(checkpoint, configuration: RunConfiguration(checkpoint).model)
    let words = try vocabulary.encode(prompt, tokenizing: checkpoint.state.isTokenized, endsLastLine: false)
      .tokens.ids

    var settings = Sampler.Settings()
    settings.temperature = temperature
    settings.topK = topK
    settings.topP = topP
    settings.excludedWord = vocabulary.unknownID
    let sampler = Sampler(
      loaded.model, parameters: loaded.weights, settings: settings, seed: seed,
      engine: ComputeEngine(threadCount: Processors.allowed.threadCount(sharedBy: 1)))
    // A text begins after the end of another, as in training.
    sampler.read(vocabulary.endOfSentenceID)
    for word in words {
      sampler.read(word)
      show(word, vocabulary)
    }
    for _ in 0..<tokens {
      let word = sampler.draw()
      sampler.read(word)
      show(word, vocabulary)
    }
    print()
  }

  private func show(_ word: Int32, _ vocabulary: Vocabulary) {
    let text = word == vocabulary.endOfSentenceID ? "\n" : vocabulary.word(word) + " "
    FileHandle.standardOutput.write(Data(text.utf8))
  }
}
