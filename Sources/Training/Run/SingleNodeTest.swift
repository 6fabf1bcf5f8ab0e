import Checkpoints
import Communication
import Corpus
import Evaluation
import Foundation
import Logging
import Platform
import Reporting

/// A test of the complete product on one machine: built-in text, all codecs, checkpoint, resume, corruption, evaluation.
package struct SingleNodeTest {
  private let ranks: Ranks
  private let logger: Logger

  /// A test on these ranks, which must share a host.
  package init(ranks: Ranks, logger: Logger) {
    self.ranks = ranks
    self.logger = logger
  }

  /// The result of one check.
  package struct Check {
    package let name: String
    /// The error; nil where the check has passed.
    package let failure: String?
    /// The measured result of a check that has passed, on rank 0.
    package let detail: String
    package let seconds: Double
  }

  /// Runs all checks and returns their results, which pass or fail on all ranks alike.
  package func run() throws -> [Check] {
    guard ranks.hostCount == 1 else {
      throw MilmError(
        "the single-node test has one temporary directory: expected ranks on one host, found "
          + "\(ranks.hostCount) hosts")
    }
    let temporary = try makeDirectory()
    let bytes = try ranks.control.broadcast(
      "temporary directory", Array((temporary?.path ?? "").utf8), from: Ranks.coordinator)
    let directory = String(decoding: bytes, as: UTF8.self)
    defer { withExtendedLifetime(temporary) {} }
    let corpus = "\(directory)/corpus"
    var checks = [try check("prepare built-in text") { try prepare(corpus, wordCount: 60) }]
    for codec in Codec.allCases {
      checks.append(
        try check("train, stop and resume with \(codec.rawValue)") {
          try resumeEqualsUninterrupted(
            configuration(codec: codec, steps: 12), codec.rawValue, directory: directory, corpus: corpus)
        })
    }
    checks.append(
      try check("shard the vocabulary, stop and resume") {
        // A vocabulary of several blocks, so that each of several ranks has rows.
        let corpus = "\(directory)/many-words"
        _ = try prepare(corpus, wordCount: 2000)
        var configuration = try self.configuration(codec: .int8, steps: 12)
        configuration.exchange.vocabulary = .sharded
        return try resumeEqualsUninterrupted(configuration, "sharded", directory: directory, corpus: corpus)
      })
    checks.append(
      try check("learn, choose the best checkpoint") { try learn(directory: directory, corpus: corpus) })
    checks.append(
      try check("evaluate as training did") { try evaluate(directory: directory, corpus: corpus) })
    checks.append(
      try check("refuse a corrupted checkpoint") {
        try refuseCorruption(directory: directory, corpus: corpus)
      })
    try ranks.control.barrier("single-node test done")
    return checks
  }

  private func check(_ name: String, _ body: () throws -> String) throws -> Check {
    let clock = ContinuousClock()
    let start = clock.now
    let result = Result { try ranks.onAllRanks(name, body) }
    let seconds = (clock.now - start).inSeconds
    switch result {
    case .success(let detail): return Check(name: name, failure: nil, detail: detail, seconds: seconds)
    case .failure(let error): return Check(name: name, failure: "\(error)", detail: "", seconds: seconds)
    }
  }

  /// Makes a directory on rank 0, which goes with the result.
  private func makeDirectory() throws -> TemporaryEntry? {
    try ranks.onCoordinator("make a temporary directory") {
      let path = FileManager.default.temporaryDirectory.appendingPathComponent("milm-\(UUID().uuidString)")
        .path
      let entry = TemporaryEntry(path)
      do { try makeDirectories(path) } catch {
        throw MilmError("\(error); set TMPDIR to a directory where files can be written")
      }
      return entry
    }
  }

  private func prepare(_ corpus: String, wordCount: Int) throws -> String {
    let description = try ranks.onCoordinator("generate text") {
      try SyntheticText(seed: 1, wordCount: wordCount).writeCorpus(
        at: URL(filePath: corpus), trainTokenCount: 40_000, validTokenCount: 2000, testTokenCount: 2000)
    }
    guard let description else { return "" }
    let entropyRate = String(format: "%.3f", description.entropyRate ?? .nan)
    return "\(description.vocabularySize) words, entropy rate \(entropyRate) nats"
  }
}

extension SingleNodeTest {
  private func configuration(codec: Codec, steps: Int) throws -> RunConfiguration {
    let lanes = ranks.rankCount * 12
    return try RunConfiguration(
      yaml: """
        model: { variant: multencdec, embedding: 24, hidden: 32, decoderContext: 4, \
        encoderContext: 4, dropout: { input: 0.05, output: 0.05 } }
        training: { lanes: \(lanes), segment: 16, steps: \(steps), precision: float32, threads: 1 }
        optimizer: { learningRate: 1.0e-2 }
        schedule: { warmup: 10, final: 1.0e-3 }
        exchange: { codec: \(codec.rawValue), vocabulary: replicated, hashEvery: 1, ranksPerNode: 1 }
        coordinator: { evaluateEvery: \(steps / 4), checkpointEvery: \(steps / 4), evaluateStreams: 4 }
        """, source: "the single-node test")
  }

  private func train(
    _ configuration: RunConfiguration, corpus: String, output: String,
    resume: TrainingRequest.Resume = .never, lastStep: Int? = nil
  ) throws -> Trainer.Outcome {
    var request = TrainingRequest(corpus: corpus, output: output)
    request.resume = resume
    request.lastStep = lastStep
    var quiet = logger
    quiet.logLevel = .error
    return try TrainingRun(
      request, configuration: configuration, ranks: ranks, logger: quiet,
      output: TerminalOutput(isTerminal: false) { _ in }
    ).train()
  }

  private func resumeEqualsUninterrupted(
    _ configuration: RunConfiguration, _ name: String, directory: String, corpus: String
  ) throws -> String {
    let whole = "\(directory)/whole-\(name)"
    let parts = "\(directory)/parts-\(name)"
    _ = try train(configuration, corpus: corpus, output: whole)
    // Step 5 lies between checkpoints, so residuals have to be carried over.
    _ = try train(configuration, corpus: corpus, output: parts, lastStep: 5)
    _ = try train(configuration, corpus: corpus, output: parts, resume: .auto)
    let digests = try ranks.onCoordinator("compare the runs") {
      try [whole, parts].map { run in
        let checkpoint = try Checkpoint(directory: "\(run)/checkpoints/last")
        try checkpoint.verify()
        return ["model.safetensors", "optimizer.safetensors", "carry.safetensors"].map {
          checkpoint.state.files[$0]?.sha256
        }
      }
    }
    guard let digests else { return "" }
    guard digests[0] == digests[1] else { throw MilmError("parameters differ after resuming") }
    return "bit-equal after 12 steps"
  }

  private func learn(directory: String, corpus: String) throws -> String {
    let configuration = try configuration(codec: .int8, steps: 240)
    let outcome = try train(configuration, corpus: corpus, output: "\(directory)/learnt")
    guard let best = outcome.bestPerplexity else { throw MilmError("no evaluation took effect") }
    // exp(entropy rate) is about 4; a unigram model is above 40.
    guard best < 12 else { throw MilmError("expected a perplexity below 12, found \(best)") }
    return String(format: "valid perplexity %.2f at step %d", best, outcome.bestStep ?? 0)
  }

  private func evaluate(directory: String, corpus: String) throws -> String {
    let run = "\(directory)/learnt"
    let checkpoint = try ranks.onCoordinator("open the checkpoint") { try Checkpoint.open(run) }
    let configuration = try RunConfiguration.shared(fromRank0Checkpoint: checkpoint, ranks: ranks)
    let summary = try EvaluationRun(
      checkpoint, model: configuration.model, corpus: corpus, text: .split(.valid),
      method: ScoringMethod(reading: .streams(4)), ranks: ranks
    ).evaluate()
    let found = try ranks.onCoordinator("compare the perplexities") {
      let recorded = try Checkpoint(directory: "\(run)/checkpoints/last").state.bestPerplexity
      guard let recorded, let summary, abs(summary.perplexity - recorded) <= 1e-6 * recorded else {
        throw MilmError(
          "perplexity: expected \(recorded ?? .nan), as recorded, found \(summary?.perplexity ?? .nan)")
      }
      return String(format: "perplexity %.4f", summary.perplexity)
    }
    return found ?? ""
  }

  private func refuseCorruption(directory: String, corpus: String) throws -> String {
    let run = "\(directory)/parts-int8"
    let configuration = try configuration(codec: .int8, steps: 12)
    _ = try ranks.onCoordinator("corrupt a checkpoint") {
      let file = "\(run)/checkpoints/step-00000012/model.safetensors"
      let handle = try FileHandle(forUpdating: URL(filePath: file))
      try handle.seek(toOffset: 4000)
      try handle.write(contentsOf: Data([0x55, 0xAA, 0x55, 0xAA]))
      try handle.close()
    }
    _ = try train(configuration, corpus: corpus, output: run, resume: .auto)
    let digests = try ranks.onCoordinator("compare the runs") {
      try ["\(directory)/whole-int8", run].map {
        try Checkpoint(directory: "\($0)/checkpoints/last").state.files["model.safetensors"]
      }
    }
    guard let digests else { return "" }
    guard digests[0] == digests[1] else {
      throw MilmError("the run that resumed from the previous checkpoint differs")
    }
    return "resumed from the previous one, bit-equal"
  }
}
