import ArgumentParser
import Checkpoints
import Corpus
import Foundation
import Platform
import Training

/// `milm import`: weights that were trained elsewhere.
struct ImportCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "import",
    abstract: "Makes a run of weights that were trained elsewhere, such as in PyTorch.",
    discussion: """
      Reads a safetensors file of 32-bit floats. Tensors have the names and shapes of model.safetensors, also after \
      "parameter.", "model.", "module." or "_orig_mod."; sizes, variant and form follow from them. --map names others: \
      NAME=SOURCE, where SOURCE is a tensor of the file, its transpose (SOURCE.T), a sum (A+B), zeros or identity. The run \
      has one checkpoint, of step 0, with weights alone.

      Examples:
        milm import state.safetensors --vocabulary corpus --output imported
        milm import lstm.safetensors --vocabulary corpus --output imported \
      --map embedding.weight=encoder.weight --map softmax.bias=decoder.bias \
      --map lstm.weight_ih=rnn.weight_ih_l0 --map lstm.weight_hh=rnn.weight_hh_l0 \
      --map lstm.bias=rnn.bias_ih_l0+rnn.bias_hh_l0 \
      --map decoder.V=projection.weight.T --map decoder.b=projection.bias
      """)

  @Argument(
    help: .init("The weights, a safetensors file.", valueName: "FILE"),
    completion: .file(extensions: ["safetensors"]),
    transform: pathArgument)
  var weights: String

  @Option(
    help: .init(
      "A corpus, a run, or a file with one word per line: the words of the embedding's rows.",
      valueName: "CORPUS|RUN|FILE"),
    completion: .file(), transform: pathArgument)
  var vocabulary: String

  @Option(
    help: .init("The run directory to write.", valueName: "DIR"), completion: .directory,
    transform: pathArgument)
  var output: String

  @Option(
    help: ArgumentHelp(
      "What a tensor of the model is made of; may be repeated.", valueName: "NAME=SOURCE"))
  var map: [String] = []

  @Flag(help: "Print the result as one line of JSON.")
  var json = false

  func run() throws {
    let (words, isTokenized) = try readVocabulary()
    let imported = try WeightImport(of: weights, entries: map, vocabulary: words, isTokenized: isTokenized)
    let checkpoint = try imported.write(to: output)
    let model = imported.model
    if json {
      return try printJSON(
        Summary(
          run: output, checkpoint: checkpoint, variant: model.configuration.variant.rawValue,
          form: model.configuration.form.rawValue, parameters: model.parameters.parameterCount,
          vocabularySize: model.vocabularySize, unread: imported.unread))
    }
    var rows = [
      ("run", output), ("checkpoint", checkpoint),
      (
        "model",
        "\(model.configuration.variant.rawValue), form \(model.configuration.form.rawValue), "
          + "\(model.parameters.parameterCount) parameters"
      ),
    ]
    if !imported.unread.isEmpty {
      rows.append(("not read", imported.unread.joined(separator: ", ")))
    }
    try printTable(rows)
  }

  /// The words, and whether the text that they come from was raw and has been tokenized.
  private func readVocabulary() throws -> (Vocabulary, isTokenized: Bool) {
    try requireVocabulary(at: vocabulary)
    guard isDirectory(vocabulary) else {
      return (try Vocabulary(contentsOf: URL(filePath: vocabulary)), false)
    }
    let directory = URL(filePath: vocabulary)
    let words = try Vocabulary(contentsOf: directory.appendingPathComponent("vocabulary.txt"))
    guard case .absent = try FileEntry(at: "\(vocabulary)/corpus.json") else {
      return (words, try CorpusDescription(readingFrom: directory).tokenized)
    }
    return (words, try CheckpointChoice(vocabulary).checkpoint.state.isTokenized)
  }

  private struct Summary: Encodable {
    let run: String
    let checkpoint: String
    let variant: String
    let form: String
    let parameters: Int
    let vocabularySize: Int
    let unread: [String]
  }
}
