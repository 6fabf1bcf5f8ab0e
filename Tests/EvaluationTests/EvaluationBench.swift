import Checkpoints
import Communication
import Corpus
import Evaluation
import Foundation
import LanguageModel
import Layers
import Platform
import Synchronization
import Tensors
import TestSupport

/// A small corpus of generated text and a checkpoint of an untrained model.
struct EvaluationBench {
  let folder: TemporaryFolder
  private let model: ModelConfiguration
  private let checkpoint: Checkpoint
  var corpus: String { folder.file("corpus") }

  init() throws {
    folder = try TemporaryFolder()
    try SyntheticText(seed: 3, wordCount: 40).writeCorpus(
      at: URL(filePath: folder.file("corpus")), trainTokenCount: 6000, validTokenCount: 700,
      testTokenCount: 700)
    var configuration = ModelConfiguration()
    configuration.embedding = 12
    configuration.hidden = 17
    configuration.decoderContext = 3
    configuration.encoderContext = 4
    model = configuration
    checkpoint = try Self.checkpoint(
      of: configuration, vocabulary: try Corpus(opening: URL(filePath: folder.file("corpus"))).vocabulary,
      at: folder.file("run"))
  }

  /// Weights three times as large as those that training begins with, so that what a model has read matters.
  private static func checkpoint(
    of configuration: ModelConfiguration, vocabulary: Vocabulary, at path: String
  ) throws -> Checkpoint {
    let model = LanguageModel(configuration, vocabularySize: vocabulary.count)
    let weights = ParameterBuffer(model.parameters)
    weights.initialize(seed: 5, engine: ComputeEngine())
    for index in 0..<weights.flat.columnCount { weights.flat[0, index] *= 3 }
    let run = RunDirectory(path: path)
    try run.create()
    let state = CheckpointState(
      step: 5, segmentIndex: 5, tokenCount: 0, rankCount: 1, threadCount: 1, engine: "", cpuLevel: "",
      precision: "float32", programVersion: "0", configuration: "", vocabularyHash: vocabulary.hash)
    let store = try CheckpointStore(lock: RunLock(run))
    try store.write(files: [CheckpointFile(.model, tensors: weights.tensorBytes())], state: state)
    return try Checkpoint.open(path)
  }

  /// Evaluates the checkpoint on ranks that are threads of this process, and gives what rank 0 gets.
  func evaluate(
    _ method: ScoringMethod = ScoringMethod(), text: EvaluationRun.Text = .split(.test),
    tokenLossPath: String? = nil, rankCount: Int = 1, reception: ReceptionFault? = nil
  ) throws -> EvaluationSummary {
    let results = onRanks(rankCount, reception: reception) { ranks in
      try EvaluationRun(
        ranks.isCoordinator ? checkpoint : nil, model: model, corpus: corpus, text: text, method: method,
        tokenLossPath: tokenLossPath, ranks: ranks
      ).evaluate()
    }
    for rank in 1..<max(rankCount, 1) {
      if case .success(.some) = results[rank] { throw MilmError("rank \(rank) gave a summary") }
    }
    guard let summary = try results[0]?.get() else { throw MilmError("rank 0 gave nothing") }
    return summary
  }

  /// The scores of the lines of a file.
  func scores(ofLinesIn path: String, context: String = "", rankCount: Int = 1) throws -> [LineScore] {
    let scores = Mutex<[LineScore]>([])
    let results = onRanks(rankCount) { ranks in
      try LineEvaluation(
        ranks.isCoordinator ? checkpoint : nil, model: model, corpus: corpus, path: path, context: context,
        ranks: ranks
      ).run { found in scores.withLock { $0 += found } }
    }
    for rank in 0..<rankCount {
      guard try results[rank]?.get() == false else { throw MilmError("rank \(rank) was interrupted") }
    }
    return scores.withLock { $0 }
  }

  private func onRanks<Value: Sendable>(
    _ rankCount: Int, reception: ReceptionFault? = nil, _ body: @escaping @Sendable (Ranks) throws -> Value
  ) -> [Int: Result<Value, any Error>] {
    let control = LocalCommunicator.world(rankCount: rankCount, ranksPerNode: rankCount, fault: reception)
    let gradients = LocalCommunicator.world(rankCount: rankCount, ranksPerNode: rankCount)
    let results = Mutex<[Int: Result<Value, any Error>]>([:])
    let group = DispatchGroup()
    for rank in 0..<rankCount {
      group.enter()
      let ranks = Ranks(control: control[rank], gradients: gradients[rank], snapshots: gradients[rank])
      Thread {
        let result = Result { try body(ranks) }
        if case .failure(let error) = result { control[rank].abort("\(error)") }
        results.withLock { $0[rank] = result }
        group.leave()
      }.start()
    }
    group.wait()
    return results.withLock { $0 }
  }

  /// The sha256 of the checkpoint's files.
  func digests() throws -> [String] {
    try checkpoint.verify()
    return checkpoint.state.files.values.map(\.sha256).sorted()
  }
}
