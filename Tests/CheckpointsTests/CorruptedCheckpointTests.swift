import Checkpoints
import Foundation
import TestSupport
import Testing

struct CorruptedCheckpointTests {
  enum Corruption: String, CaseIterable {
    case truncatedModel = "model.safetensors: expected "
    case flippedBit = "optimizer.safetensors: its sha256"
    case missingModel = "model.safetensors: cannot open"
    case linkedModel = "model.safetensors: cannot open: Too many levels of symbolic links"
    case missingState = "state.json: cannot open"
    case flippedStateBit = "state.json: its checksum"
    case truncatedState = "state.json: expected `checksum`"
    case otherStep = "expected a checkpoint of step 3, found step 1"

    func happen(to path: String, from first: String) throws {
      switch self {
      case .truncatedModel:
        try replaceContent("\(path)/model.safetensors", try bytes("\(path)/model.safetensors").dropLast())
      case .flippedBit: try flipBit("\(path)/optimizer.safetensors")
      case .missingModel: try FileManager.default.removeItem(atPath: "\(path)/model.safetensors")
      case .linkedModel:
        try FileManager.default.moveItem(
          atPath: "\(path)/model.safetensors", toPath: "\(path)/../../elsewhere")
        try FileManager.default.createSymbolicLink(
          atPath: "\(path)/model.safetensors", withDestinationPath: "../../elsewhere")
      case .missingState: try FileManager.default.removeItem(atPath: "\(path)/state.json")
      case .flippedStateBit: try flipBit("\(path)/state.json")
      case .truncatedState:
        try replaceContent("\(path)/state.json", try bytes("\(path)/state.json").dropLast(20))
      case .otherStep: try replaceContent("\(path)/state.json", try bytes("\(first)/state.json"))
      }
    }
  }

  /// A run of three checkpoints of another process, of which the newest is corrupted.
  private func corruptedRun(_ corruption: Corruption, in folder: TemporaryFolder) throws -> RunDirectory {
    let run = RunDirectory(path: folder.file("run"))
    try run.create()
    let store = try CheckpointStore(lock: RunLock(run))
    for step in 1...3 { try write(step, to: store, seed: Float(step)) }
    try corruption.happen(to: run.location(ofStep: 3).path, from: run.location(ofStep: 1).path)
    return run
  }

  @Test(arguments: Corruption.allCases) func fallsBackToThePreviousOneAndSaysWhy(corruption: Corruption)
    throws
  {
    let folder = try TemporaryFolder()
    let run = try corruptedRun(corruption, in: folder)
    let store = try CheckpointStore(lock: RunLock(run))
    var refusals: [String] = []
    let checkpoint = try #require(try store.newestVerified { refusals.append($0.description) })
    #expect(checkpoint.state.step == 2)
    #expect(try checkpoint.tensors(.model).withFloats(of: "weight") { $0[0] } == 2)
    #expect(refusals.count == 1)
    #expect(refusals.first?.contains(corruption.rawValue) == true, "\(refusals)")
    #expect(refusals.first?.contains("step-00000003") == true)
    #expect(refusals.first?.contains("\n") == false)
  }

  @Test(arguments: Corruption.allCases) func canBeOverwritten(corruption: Corruption) throws {
    let folder = try TemporaryFolder()
    let store = try CheckpointStore(lock: RunLock(try corruptedRun(corruption, in: folder)))
    try write(3, to: store, seed: 7)
    let checkpoint = try #require(try store.newestVerified { Issue.record("\($0)") })
    try checkpoint.verify()
    #expect(try checkpoint.tensors(.model).withFloats(of: "weight") { $0[0] } == 7)
  }

  @Test func findsNoneIfAllAreCorrupted() throws {
    let folder = try TemporaryFolder()
    let run = try corruptedRun(.missingModel, in: folder)
    for step in 1...2 { try flipBit("\(run.location(ofStep: step).path)/model.safetensors") }
    var refusals: [String] = []
    #expect(try CheckpointStore(lock: RunLock(run)).newestVerified { refusals.append($0.description) } == nil)
    #expect(refusals.count == 3)
  }

  @Test func findsNoneInANewRun() throws {
    #expect(try OpenRun().store.newestVerified { Issue.record("\($0)") } == nil)
  }

  @Test func isAnErrorWhenNamedExplicitly() throws {
    let folder = try TemporaryFolder()
    let run = try corruptedRun(.flippedBit, in: folder)
    let checkpoint = try Checkpoint.open(run.location(ofStep: 3).path)
    #expect(try refusal { try checkpoint.verify() }.contains("optimizer.safetensors: its sha256"))
  }
}
