import Checkpoints
import Foundation
import Testing

struct CheckpointStoreTests {
  let open: OpenRun
  var store: CheckpointStore { open.store }
  var run: RunDirectory { open.run }

  init() throws {
    open = try OpenRun()
  }

  private func target(_ link: String) throws -> String {
    try FileManager.default.destinationOfSymbolicLink(atPath: "\(run.checkpointsPath)/\(link)")
  }

  private func weights(_ step: Int) throws -> [Float] {
    let checkpoint = try Checkpoint(directory: run.location(ofStep: step).path)
    try checkpoint.verify()
    return try checkpoint.tensors(.model).withFloats(of: "weight") { Array($0) }
  }

  @Test func writesACheckpointThatVerifies() throws {
    let location = try write(1000, to: store, seed: 3)
    #expect(location.path == "\(run.checkpointsPath)/step-00001000")
    #expect(try open.entries() == ["last", "step-00001000"])
    #expect(try target("last") == "step-00001000")

    let checkpoint = try Checkpoint.open(run.path)
    try checkpoint.verify()
    #expect(checkpoint.path == location.path)
    #expect(checkpoint.state.files.keys.sorted() == ["model.safetensors", "optimizer.safetensors"])
    #expect(try weights(1000) == floats(3, 100))
    #expect(checkpoint.contains(.model))
    #expect(!checkpoint.contains(.exchange))
    #expect(try refusal { _ = try checkpoint.tensors(.exchange) }.contains("expected exchange.safetensors"))
  }

  @Test func listsStepsByNumber() throws {
    for step in [100_000_000, 9, 99_999_999, 0] { try write(step, to: store) }
    for name in ["step-1", "step-0000000x", "step--0000001", "notes", "step-000000010"] {
      try FileManager.default.createDirectory(
        atPath: "\(run.checkpointsPath)/\(name)", withIntermediateDirectories: false)
    }
    #expect(try store.list() == [0, 9, 99_999_999, 100_000_000])
  }

  @Test func replacesACheckpointOfTheSameStep() throws {
    try write(1, to: store, seed: 1)
    try write(2, to: store, seed: 2)
    try write(1, to: store, seed: 5)
    #expect(try weights(1) == floats(5, 100))
    #expect(try open.entries() == ["last", "step-00000001", "step-00000002"])
    #expect(try target("last") == "step-00000001")
  }

  @Test(arguments: 0...2) func leavesNothingBehindWhenAFileFails(failingIndex: Int) throws {
    try write(1, to: store, seed: 1)
    try write(2, to: store, seed: 2)
    var parts: [CheckpointPart] = [.model, .optimizer]
    // No file system allows a name of 300 bytes.
    parts.insert(CheckpointPart(rawValue: String(repeating: "x", count: 300)), at: failingIndex)
    for step in [2, 3] {
      let error = try refusal {
        try withFiles(parts, seed: 9) { _ = try store.write(files: $0, state: state(step: step)) }
      }
      #expect(error.contains("File name too long"))
    }
    #expect(try open.entries() == ["last", "step-00000001", "step-00000002"])
    #expect(try target("last") == "step-00000002")
    #expect(try weights(2) == floats(2, 100))
  }

  @Test func restoresEverythingWhenTheLinkCannotBeReplaced() throws {
    try write(1, to: store, seed: 1)
    try write(2, to: store, seed: 2)
    try write(1, to: store, seed: 3)
    // The link is first created under this name.
    let obstacle = "\(run.checkpointsPath)/.last.tmp-\(getpid())"
    try FileManager.default.createDirectory(atPath: obstacle, withIntermediateDirectories: false)
    for step in [2, 3] {
      #expect(try refusal { try write(step, to: store, seed: 9) }.contains("cannot create the link"))
    }
    try FileManager.default.removeItem(atPath: obstacle)
    #expect(try open.entries() == ["last", "step-00000001", "step-00000002"])
    #expect(try target("last") == "step-00000001")
    #expect(try weights(2) == floats(2, 100))
  }

  @Test func failsInOneLineWithoutADirectory() throws {
    try FileManager.default.removeItem(atPath: run.checkpointsPath)
    try replaceContent(run.checkpointsPath, [])
    #expect(try refusal { try write(1, to: store) }.contains("step-00000001.tmp-\(getpid()): cannot create"))
    #expect(try refusal { try run.create() }.contains("expected a directory"))
    #expect(try refusal { try RunDirectory(path: run.lockPath).create() }.contains("lock: cannot create"))
  }

  @Test func prefersTheBestOfARun() throws {
    for step in 1...3 { try write(step, to: store) }
    #expect(try Checkpoint.open(run.path).state.step == 3)
    try store.markBest(2)
    #expect(try target("best") == "step-00000002")
    #expect(try Checkpoint.open(run.path).state.step == 2)
    #expect(try Checkpoint.open("\(run.checkpointsPath)/last").state.step == 3)
    try store.markBest(1)
    #expect(try Checkpoint.open(run.path).state.step == 1)
    #expect(try refusal { try store.markBest(4) }.contains("expected a checkpoint to mark as best"))
    #expect(try open.entries() == ["best", "last", "step-00000001", "step-00000002", "step-00000003"])
  }

  @Test func keepsTheNewestTheBestAndTheLast() throws {
    for step in 1...6 { try write(step, to: store) }
    try store.markBest(2)
    try write(1, to: store)
    try store.prune(keepLast: 2)
    #expect(try open.entries() == ["best", "last"] + [1, 2, 5, 6].map { "step-0000000\($0)" })
    try store.prune(keepLast: 0)
    #expect(try store.list() == [1, 2, 6])
  }

  @Test func keepsTheOnlyCheckpointThatVerifies() throws {
    for step in 1...4 { try write(step, to: store) }
    for step in 3...4 { try flipBit("\(run.location(ofStep: step).path)/model.safetensors") }
    let reopened = try anotherStore()
    try reopened.prune(keepLast: 1)
    #expect(try reopened.list() == [2, 4])
  }

  @Test func removesNothingIfNoCheckpointVerifies() throws {
    for step in 1...3 {
      try write(step, to: store)
      try flipBit("\(run.location(ofStep: step).path)/state.json")
    }
    let reopened = try anotherStore()
    try reopened.prune(keepLast: 1)
    #expect(try reopened.list() == [1, 2, 3])
  }

  /// The same checkpoints in a copy of the run, opened by a store that has verified nothing yet.
  private func anotherStore() throws -> CheckpointStore {
    let copy = RunDirectory(path: open.folder.file("copy"))
    try FileManager.default.copyItem(atPath: run.path, toPath: copy.path)
    return try CheckpointStore(lock: RunLock(copy))
  }

  @Test func rewindingRemovesNewerCheckpoints() throws {
    for step in 1...5 { try write(step, to: store) }
    try store.markBest(4)
    try store.rewind(to: 3, bestStep: 2, newer: .haveDiverged)
    #expect(try open.entries() == ["best", "last", "step-00000001", "step-00000002", "step-00000003"])
    #expect(try target("last") == "step-00000003")
    #expect(try target("best") == "step-00000002")
    try store.rewind(to: 1, bestStep: nil, newer: .haveDiverged)
    #expect(try open.entries() == ["last", "step-00000001"])
  }

  @Test func removesLeftoversOfKilledProcesses() throws {
    try write(1, to: store, seed: 1)
    let copy = RunDirectory(path: open.folder.file("copy"))
    try FileManager.default.copyItem(atPath: run.path, toPath: copy.path)
    let complete = copy.location(ofStep: 1).path
    for name in [
      ".step-00000002.tmp-77", ".step-00000001.old-77", ".step-00000003.removed-77", ".step-00000004.old-77",
    ] {
      try FileManager.default.copyItem(atPath: complete, toPath: "\(copy.checkpointsPath)/\(name)")
    }
    try FileManager.default.createSymbolicLink(
      atPath: "\(copy.checkpointsPath)/.last.tmp-77", withDestinationPath: "step-00000002")
    try replaceContent("\(copy.checkpointsPath)/.notes", [])

    // Step 4 was renamed for a new one that was never completed.
    #expect(try CheckpointStore(lock: RunLock(copy)).list() == [1, 4])
    let entries = try FileManager.default.contentsOfDirectory(atPath: copy.checkpointsPath).sorted()
    #expect(entries == [".notes", "last", "step-00000001", "step-00000004"])
  }
}
