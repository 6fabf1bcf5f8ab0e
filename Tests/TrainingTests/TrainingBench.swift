import Checkpoints
import Communication
import Corpus
import Evaluation
import Foundation
import Logging
import Platform
import Reporting
import Synchronization
import TestSupport
import Testing
import Training

/// A small corpus of generated text, and runs on it with any number of ranks,
/// each on a thread of this process.
struct TrainingBench {
  let folder: TemporaryFolder
  var corpus: String { folder.file("corpus") }

  init(tokenCount: Int = 6000, validTokenCount: Int = 700, wordCount: Int = 40) throws {
    folder = try TemporaryFolder()
    try SyntheticText(seed: 3, wordCount: wordCount).writeCorpus(
      at: URL(filePath: folder.file("corpus")), trainTokenCount: tokenCount,
      validTokenCount: validTokenCount,
      testTokenCount: 700)
  }

  /// 12 lanes, for 1, 2, 3 or 4 ranks; dropout on; a line of metrics for every step.
  func configuration(_ settings: String...) throws -> RunConfiguration {
    try configuration(settings: settings)
  }

  func configuration(settings: [String]) throws -> RunConfiguration {
    try RunConfiguration(
      yaml: """
        model: { variant: multencdec, embedding: 12, hidden: 17, decoderContext: 3, \
        encoderContext: 4, dropout: { input: 0.1, output: 0.2 } }
        training: { lanes: 12, segment: 6, steps: 20, seed: 5, precision: float32, threads: 1 }
        optimizer: { learningRate: 5.0e-3 }
        schedule: { warmup: 4, final: 1.0e-3 }
        exchange: { codec: none, bucketMegabytes: 1, hashEvery: 1 }
        coordinator: { reportEvery: 1, evaluateEvery: 5, evaluateStreams: 3, checkpointEvery: 5 }
        """, source: "the test", settings: settings)
  }

  /// Trains on `rankCount` ranks and returns the outcome of rank 0.
  @discardableResult
  func train(
    _ configuration: RunConfiguration, output: String, rankCount: Int = 1, ranksPerNode: Int = 1,
    resume: TrainingRequest.Resume = .never, lastStep: Int? = nil, log: LogLines = LogLines(),
    stop: StopRequest = StopRequest(), faults: [String] = [],
    vocabularyDecision: (any VocabularyDecision)? = nil,
    link: (any Communicator) -> any Communicator = { $0 },
    snapshotLink: (any Communicator) -> any Communicator = { $0 },
    reception: ReceptionFault? = nil, corpus other: String? = nil, initialWeights: String? = nil
  ) throws -> Trainer.Outcome {
    var request = TrainingRequest(corpus: other ?? corpus, output: folder.file(output))
    request.initialWeights = initialWeights
    request.resume = resume
    request.lastStep = lastStep
    func world() -> [LocalCommunicator] {
      LocalCommunicator.world(rankCount: rankCount, ranksPerNode: ranksPerNode, fault: reception)
    }
    let (control, gradients, snapshots) = (world(), world(), world())
    let results = Mutex<[Int: Result<Trainer.Outcome, any Error>]>([:])
    let group = DispatchGroup()
    let plan = FaultPlan(try faults.map { try Fault($0) })
    for rank in 0..<rankCount {
      group.enter()
      let ranks = Ranks(
        control: control[rank], gradients: link(gradients[rank]), snapshots: snapshotLink(snapshots[rank]))
      let run = TrainingRun(
        request, configuration: configuration, ranks: ranks, logger: log.logger(rank: rank),
        output: TerminalOutput(isTerminal: false) { _ in }, stop: stop, faults: plan,
        vocabularyDecision: vocabularyDecision)
      Thread {
        let result = Result { try run.train() }
        if case .failure(let error) = result {
          control[rank].abort("\(error)")
          gradients[rank].abort("\(error)")
          snapshots[rank].abort("\(error)")
        }
        results.withLock { $0[rank] = result }
        group.leave()
      }.start()
    }
    group.wait()
    let all = results.withLock { $0 }
    return try (all[0] ?? .failure(MilmError("rank 0 gave nothing"))).get()
  }

  /// An evaluation of a run's best checkpoint by this process alone.
  func evaluation(
    _ output: String, _ method: ScoringMethod = ScoringMethod(), text: EvaluationRun.Text
  ) throws -> EvaluationRun {
    let checkpoint = try Checkpoint.open(folder.file(output))
    return EvaluationRun(
      checkpoint, model: try RunConfiguration(checkpoint).model, corpus: corpus, text: text, method: method,
      threadCount: 1, ranks: aloneRanks())
  }

  /// The losses in `metrics.jsonl`, by step.
  func losses(_ output: String) throws -> [Int: Double] {
    struct Line: Decodable {
      let step: Int
      let loss: Double?
      let split: String?
    }
    let text = try String(contentsOfFile: folder.file("\(output)/metrics.jsonl"), encoding: .utf8)
    var losses: [Int: Double] = [:]
    for line in text.split(separator: "\n") {
      let line = try JSONDecoder().decode(Line.self, from: Data(line.utf8))
      if line.split == nil { losses[line.step] = line.loss ?? .nan }
    }
    return losses
  }

  /// The steps of the evaluations in `metrics.jsonl`, in the order of the lines.
  func evaluatedSteps(_ output: String) throws -> [Int] {
    struct Line: Decodable {
      let step: Int
      let split: String?
    }
    let text = try String(contentsOfFile: folder.file("\(output)/metrics.jsonl"), encoding: .utf8)
    return try text.split(separator: "\n").map { try JSONDecoder().decode(Line.self, from: Data($0.utf8)) }
      .filter { $0.split == "valid" }.map(\.step)
  }

  func checkpoint(_ output: String, _ name: String = "last") throws -> Checkpoint {
    try Checkpoint(directory: folder.file("\(output)/checkpoints/\(name)"))
  }

  /// The sha256 of parameters, optimizer and carried state: equal for bit-equal runs.
  func digests(_ output: String, _ name: String = "last") throws -> [String] {
    let checkpoint = try checkpoint(output, name)
    try checkpoint.verify()
    return ["model", "optimizer", "carry"].map {
      checkpoint.state.files["\($0).safetensors"]?.sha256 ?? "none"
    }
  }
}

extension TrainingBench {
  /// The tensors of a part of a checkpoint, by name.
  func tensors(
    _ output: String, _ part: CheckpointPart, _ name: String = "last"
  ) throws -> [String: [Float]] {
    let file = try checkpoint(output, name).tensors(part)
    let values = try file.names.map { name in (name, try file.withFloats(of: name) { Array($0) }) }
    return Dictionary(uniqueKeysWithValues: values)
  }
}

/// The log of a run, line by line.
final class LogLines: Sendable {
  private let lines = Mutex<[String]>([])
  private let onLine: @Sendable (String) -> Void

  /// `onLine` is called with each line on the thread that logs it.
  init(onLine: @escaping @Sendable (String) -> Void = { _ in }) {
    self.onLine = onLine
  }

  var all: [String] { lines.withLock { $0 } }

  func logger(rank: Int) -> Logger {
    makeLogger(
      rank: rank,
      output: TerminalOutput(isTerminal: false) { [self] line in
        lines.withLock { $0.append(line) }
        onLine(line)
      })
  }

  func contains(_ text: String) -> Bool { all.contains { $0.contains(text) } }
}

extension TrainingBench {
  /// Writes the newest checkpoint again with a NaN in the carried state.
  func corruptCarriedState(_ output: String) throws {
    let checkpoint = try checkpoint(output)
    let store = try CheckpointStore(lock: RunLock(RunDirectory(path: folder.file(output))))
    var arrays: [[Float]] = []
    var files: [CheckpointFile] = []
    for part in [CheckpointPart.model, .optimizer, .carry] {
      let file = try checkpoint.tensors(part)
      for name in file.names {
        var values = try file.withFloats(of: name) { Array($0) }
        if part == .carry { values[0] = .nan }
        arrays.append(values)
      }
    }
    var index = 0
    for part in [CheckpointPart.model, .optimizer, .carry] {
      let file = try checkpoint.tensors(part)
      let tensors = try file.names.map { name in
        defer { index += 1 }
        return TensorBytes(name: name, shape: try file.shape(of: name), floats: pinned(arrays[index]))
      }
      files.append(CheckpointFile(part, metadata: file.metadata, tensors: tensors))
    }
    try store.write(files: files, state: checkpoint.state)
  }

  /// Floats at an address that is valid for the rest of the test.
  private func pinned(_ values: [Float]) -> UnsafeBufferPointer<Float> {
    let copy = UnsafeMutableBufferPointer<Float>.allocate(capacity: values.count)
    _ = copy.initialize(from: values)
    return UnsafeBufferPointer(copy)
  }
}

/// The ranks of a job of one process.
func aloneRanks() -> Ranks {
  func alone() -> LocalCommunicator { LocalCommunicator.world(rankCount: 1)[0] }
  return Ranks(control: alone(), gradients: alone(), snapshots: alone())
}

/// A small file system; nil where this process may not mount one.
final class TinyDisk: Sendable {
  private let folder: TemporaryFolder
  private let path: String

  /// A file system in a directory of its own, or at `path` in `folder`, which must be a directory.
  init?(byteCount: Int, in folder: TemporaryFolder? = nil, at name: String? = nil) throws {
    let folder = try folder ?? TemporaryFolder()
    path = name.map { folder.file($0) } ?? folder.path
    self.folder = folder
    let mounted = try start(["mount", "-t", "tmpfs", "-o", "size=\(byteCount)", "tmpfs", path])
    guard mounted.status == 0 else { return nil }
  }

  deinit { _ = try? start(["umount", path]) }

  func file(_ name: String) -> String { "\(path)/\(name)" }

  /// Makes it writable or read-only.
  func set(isWritable: Bool) {
    let run = try? start(["mount", "-o", "remount,\(isWritable ? "rw" : "ro")", path])
    if run?.status != 0 { Issue.record("\(run?.transcript ?? "mount does not start")") }
  }
}
