import Checkpoints
import Foundation
import Platform
import TestSupport
import Testing

/// A locked run in a temporary directory, with its checkpoint store.
struct OpenRun {
  let folder: TemporaryFolder
  let run: RunDirectory
  let store: CheckpointStore

  init() throws {
    folder = try TemporaryFolder()
    run = RunDirectory(path: folder.file("run"))
    try run.create()
    store = try CheckpointStore(lock: try RunLock(run))
  }

  /// All names in `checkpoints`, including hidden ones.
  func entries() throws -> [String] {
    try FileManager.default.contentsOfDirectory(atPath: run.checkpointsPath).sorted()
  }
}

/// A minimal state.
func state(step: Int) -> CheckpointState {
  CheckpointState(
    step: step, segmentIndex: step, tokenCount: step * 4096, rankCount: 2, threadCount: 1, engine: "openblas",
    cpuLevel: "x86-64-v3", precision: "float32", programVersion: "0.0.0", configuration: "model: {}\n",
    vocabularyHash: "abc")
}

/// Writes a checkpoint of a model and an optimizer whose floats begin at `seed`.
@discardableResult
func write(_ step: Int, to store: CheckpointStore, seed: Float = 0, count: Int = 100) throws
  -> CheckpointLocation
{
  try withFiles([.model, .optimizer], seed: seed, count: count) { files in
    try store.write(files: files, state: state(step: step))
  }
}

/// Calls `body` with files of one tensor `weight` each, whose floats are `seed`, `seed` + 1, ….
func withFiles<Result>(
  _ parts: [CheckpointPart], seed: Float = 0, count: Int = 100, _ body: ([CheckpointFile]) throws -> Result
) rethrows -> Result {
  try floats(seed, count).withUnsafeBufferPointer { floats in
    try body(
      parts.map { part in
        CheckpointFile(
          part, metadata: ["format": "test"],
          tensors: [TensorBytes(name: "weight", shape: [floats.count], floats: floats)])
      })
  }
}

func floats(_ first: Float, _ count: Int) -> [Float] {
  (0..<count).map { first + Float($0) }
}

/// The message of the error that `body` must throw, which must be a single line.
func refusal(_ body: () throws -> Void, sourceLocation: SourceLocation = #_sourceLocation) throws -> String {
  let error = try #require(throws: MilmError.self, sourceLocation: sourceLocation) { try body() }
  #expect(!error.description.contains("\n"), sourceLocation: sourceLocation)
  return error.description
}

func bytes(_ path: String) throws -> [UInt8] {
  Array(try Data(contentsOf: URL(filePath: path)))
}

/// Replaces a file by a new one, which is faster than truncating it.
func replaceContent(_ path: String, _ bytes: some Sequence<UInt8>) throws {
  unlink(path)
  try Data(bytes).write(to: URL(filePath: path))
}

/// Changes one bit in the middle of a file.
func flipBit(_ path: String) throws {
  var content = try bytes(path)
  content[content.count / 2] ^= 1
  try replaceContent(path, content)
}
