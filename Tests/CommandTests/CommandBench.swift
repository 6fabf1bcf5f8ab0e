import Checkpoints
import Foundation
import TestSupport
import Testing

/// A directory with a small text, its corpus and a configuration, and `milm` run on them as a user would.
struct CommandBench {
  let folder: TemporaryFolder
  var corpus: String { folder.file("corpus") }
  var configuration: String { folder.file("tiny.yaml") }

  /// The text has some 400 words, or as many as are asked for: of more than 512 each of two ranks can have some.
  init(wordCount: Int? = nil) throws {
    folder = try TemporaryFolder()
    try folder.write(
      """
      # A model that trains in a moment.
      model: { variant: multencdec, embedding: 12, hidden: 16, decoderContext: 3, encoderContext: 4 }
      training: { lanes: 6, segment: 8, steps: 12, precision: float32, threads: 1 }
      schedule: { warmup: 2 }
      exchange: { codec: int8, vocabulary: replicated, hashEvery: 1, ranksPerNode: 1 }
      coordinator: { reportEvery: 4, evaluateEvery: 4, evaluateStreams: 1, checkpointEvery: 4 }
      """, to: "tiny.yaml")
    guard let wordCount else {
      let prepared = try milm("prepare", "--generate", "4000", "--output", corpus)
      try #require(prepared.status == 0, "\(prepared.transcript)")
      return
    }
    let words = (0..<2 * wordCount).map { "w\($0 * $0 % wordCount)" } + (0..<wordCount).map { "w\($0)" }
    let text = try folder.write(words.joined(separator: " ") + "\n", to: "text.txt").path
    let prepared = try milm("prepare", "--train", text, "--valid", text, "--output", corpus)
    try #require(prepared.status == 0, "\(prepared.transcript)")
  }

  func milm(_ arguments: String...) throws -> ProgramRun {
    try start([program("milm")] + arguments)
  }

  func mpirunMilm(_ rankCount: Int, _ arguments: String...) throws -> ProgramRun {
    try mpirun(rankCount, [program("milm")] + arguments)
  }

  /// Trains to the end; the run is in `folder/name`.
  @discardableResult
  func train(_ name: String = "run", ranks: Int = 1) throws -> String {
    let output = folder.file(name)
    let run = try mpirunMilm(ranks, "train", configuration, "--corpus", corpus, "--output", output)
    try #require(run.status == 0, "\(run.transcript)")
    return output
  }
}

extension CommandBench {
  /// The step of a run's newest checkpoint, all of whose files verify.
  func lastStep(_ name: String) throws -> Int {
    let checkpoint = try Checkpoint(directory: folder.file("\(name)/checkpoints/last"))
    try checkpoint.verify()
    return checkpoint.state.step
  }
}

/// Where the package's sources are.
let repositoryFolder = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
  .deletingLastPathComponent()

/// The one JSON object on the one line of standard output.
func object(_ run: ProgramRun) throws -> [String: Any] {
  let lines = run.output.split(separator: "\n")
  try #require(lines.count == 1, "\(run.transcript)")
  return try #require(try JSONSerialization.jsonObject(with: Data(run.output.utf8)) as? [String: Any])
}
