import Checkpoints
import Communication
import Corpus
import Evaluation
import Foundation
import Platform
import TestSupport
import Testing
import Training

/// Runs that start from the weights of another one.
@Suite struct InitialWeightsTests {
  private let bench: TrainingBench
  /// Updates that change no weight.
  private static let frozen = [
    "optimizer.learningRate=1e-37", "schedule.kind=constant", "schedule.warmup=0", "training.steps=1",
    "model.dropout.input=0", "model.dropout.output=0",
  ]

  init() throws {
    // More than one block of the vocabulary, so that each of two ranks has a shard.
    bench = try TrainingBench(wordCount: 900)
    try bench.train(try bench.configuration(), output: "one")
  }

  private var source: String { bench.folder.file("one/checkpoints/last") }

  /// A corpus of a text whose lines have the words of `range` of the source's vocabulary and `added` ones.
  private func corpus(_ name: String, words range: Range<Int>, added: [String] = [], given: Bool) throws
    -> String
  {
    let vocabulary = try Corpus(opening: URL(filePath: bench.corpus)).vocabulary
    let words = range.map { vocabulary.word(Int32($0)) } + added
    let text = try bench.folder.write(words.joined(separator: " ") + "\n", to: "\(name).txt")
    let folder = bench.folder.file(name)
    try CorpusBuilder(
      train: [text], valid: [text], options: .init(given: given ? vocabulary : nil)
    ).build(at: URL(filePath: folder))
    return folder
  }

  private func tensor(_ output: String, _ step: String, _ name: String) throws -> [Float] {
    try bench.checkpoint(output, step).tensors(.model).withFloats(of: name) { Array($0) }
  }

  @Test func theInitialLossIsThatOfTheWeights() throws {
    // One segment of six tokens for each of twelve lanes.
    let text = try corpus("text", words: 2..<73, given: true)
    let checkpoint = try Checkpoint(directory: source)
    let expected = try #require(
      try EvaluationRun(
        checkpoint, model: try RunConfiguration(checkpoint).model, corpus: text, text: .split(.train),
        method: ScoringMethod(reading: .streams(12)), threadCount: 1, ranks: aloneRanks()
      ).evaluate())
    #expect(expected.tokens == 72)
    let log = LogLines()
    let outcome = try bench.train(
      try bench.configuration(settings: Self.frozen + ["coordinator.evaluateStreams=12"]), output: "two",
      log: log,
      corpus: text, initialWeights: source)
    let loss = try #require(try bench.losses("two")[1])
    #expect(abs(loss - expected.nll / 72) <= 1e-5 * loss)
    #expect(outcome.bestPerplexity == expected.perplexity)
    #expect(log.contains(#"tensors="17 of 17""#) && !log.contains("keep their rows"), "\(log.all)")
    #expect(try bench.tensors("two", .model, "step-00000000") == bench.tensors("one", .model))
  }

  @Test func rowsAreMappedByToken() throws {
    let text = try corpus("other", words: 100..<300, added: ["brand-new", "words"], given: false)
    let settings = try bench.configuration(settings: Self.frozen)
    let log = LogLines()
    try bench.train(settings, output: "two", log: log, corpus: text, initialWeights: bench.folder.file("one"))
    try bench.train(settings, output: "fresh", corpus: text)
    let (before, after) = try (
      Corpus(opening: URL(filePath: bench.corpus)).vocabulary, Corpus(opening: URL(filePath: text)).vocabulary
    )
    #expect(
      log.contains(
        "the vocabulary differs: \(after.count - 2) of \(after.count) tokens keep their rows, 2 are new"),
      "\(log.all)")
    let best = try Checkpoint.open(bench.folder.file("one")).path.split(separator: "/").last.map(String.init)
    for (name, width) in [("embedding.weight", 12), ("softmax.bias", 1)] {
      let (old, new, fresh) = try (
        tensor("one", best ?? "best", name), tensor("two", "last", name), tensor("fresh", "last", name)
      )
      for (id, word) in after.words.enumerated() {
        let row = Array(new[id * width..<(id + 1) * width])
        let source = Int(before.id(of: word))
        let expected =
          before.contains(word)
          ? old[source * width..<(source + 1) * width] : fresh[id * width..<(id + 1) * width]
        // The one step of a new run moves a bias of zero by its tiny rate.
        #expect(zip(row, expected).allSatisfy { abs($0 - $1) <= 1e-30 }, "\(word)")
      }
    }
    let state = try bench.checkpoint("two").state
    #expect(state.initialWeights?.commonTokens == after.count - 2)
    // The file alone does not say which rows are whose.
    let model = try bench.folder.write(
      [UInt8](Data(contentsOf: URL(filePath: "\(source)/model.safetensors"))), to: "model.safetensors")
    let error = #expect(throws: MilmError.self) {
      try bench.train(settings, output: "three", corpus: text, initialWeights: model.path)
    }
    #expect("\(String(describing: error))".contains("expected its vocabulary with hash \(before.hash)"))
  }

  /// Weights, and what they are recorded with, are the same on any number of ranks.
  @Test(arguments: [(1, "replicated"), (2, "replicated"), (2, "sharded"), (4, "2")])
  func ranksBeginWithTheSameWeights(rankCount: Int, vocabulary: String) throws {
    let file = "\(source)/model.safetensors"
    let configuration = try bench.configuration("exchange.vocabulary=\(vocabulary)", "training.steps=4")
    try bench.train(configuration, output: "two", rankCount: rankCount, initialWeights: file)
    let (one, two) = try (bench.checkpoint("one"), bench.checkpoint("two", "step-00000000"))
    let digest = one.state.files["model.safetensors"]?.sha256
    for name in ["embedding.weight", "softmax.bias", "decoder.W", "lstm.weight_hh"] {
      #expect(try tensor("one", "last", name) == tensor("two", "step-00000000", name), "\(name)")
    }
    #expect(two.state.initialWeights?.sha256 == digest && two.state.tokenCount == 0)
    let alone = try bench.train(
      try bench.configuration("training.steps=4"), output: "alone", initialWeights: file)
    #expect(alone.step == 4)
    for (step, loss) in try bench.losses("alone") {
      #expect(abs((try bench.losses("two")[step] ?? 0) - loss) <= 1e-4 * loss)
    }
  }

  @Test func aRunStartedFromWeightsIsResumedWithoutThem() throws {
    try bench.train(try bench.configuration(), output: "whole", initialWeights: source)
    let stop = StopRequest()
    stop.make()
    try bench.train(try bench.configuration(), output: "two", stop: stop, initialWeights: source)
    try FileManager.default.removeItem(atPath: bench.folder.file("one"))
    let log = LogLines()
    // As a supervisor does, with the same command line, though the weights are gone.
    try bench.train(
      try bench.configuration(), output: "two", resume: .auto, lastStep: 7, log: log, initialWeights: source)
    #expect(log.contains("the run continues; --init applies to a new run alone"))
    try bench.train(try bench.configuration(), output: "two", resume: .auto)
    #expect(try bench.digests("two") == bench.digests("whole"))
    #expect(
      try bench.checkpoint("two").state.initialWeights == bench.checkpoint("whole").state.initialWeights)
  }

  @Test(arguments: [
    (
      ["model.hidden=18"],
      "expected decoder.context.weight of shape [3, 18], as in the run's model, found [3, 17]"
    ),
    (
      ["model.embedding=13"],
      ", 13], as in the run's model, found ["
    ),
    (["model.variant=lstm"], "found decoder.context.weight of shape [3, 17], which it does not have"),
    (["model.form=diagonal"], "found decoder.W of shape [3, 17, 12], which it does not have"),
  ])
  func whatDoesNotFitIsNamedAndLeavesNothingBehind(settings: [String], expected: String) throws {
    let configuration = try bench.configuration(settings: settings)
    for rankCount in [1, 2] {
      let error = #expect(throws: MilmError.self) {
        try bench.train(configuration, output: "two", rankCount: rankCount, initialWeights: source)
      }
      #expect("\(String(describing: error))".contains(expected), "\(String(describing: error))")
      #expect(!FileManager.default.fileExists(atPath: bench.folder.file("two")))
    }
  }

  @Test func aModelWithMoreLayersSaysWhichAreNew() throws {
    try bench.train(try bench.configuration("model.variant=lstm"), output: "small")
    let log = LogLines()
    try bench.train(
      try bench.configuration(settings: Self.frozen), output: "two", log: log,
      initialWeights: bench.folder.file("small/checkpoints/last"))
    let expected = [
      "decoder.context.weight", "decoder.context.bias", "decoder.U", "decoder.W", "encoder.context.weight",
      "encoder.context.bias", "encoder.V", "encoder.U", "encoder.b", "encoder.W",
    ]
    #expect(try bench.checkpoint("two").state.initialWeights?.newTensors == expected)
    #expect(
      log.contains("tensors that the file lacks, initialized: \(expected.joined(separator: ", "))"),
      "\(log.all)")
    #expect(try tensor("two", "last", "decoder.V") == tensor("small", "last", "decoder.V"))
  }
}
