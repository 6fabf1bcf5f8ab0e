import Checkpoints
import Foundation
import Platform
import TestSupport
import Testing

/// Copies of a run as tools make them that do not keep symbolic links: object stores, archives, FAT, `cp -rL`.
struct CopiedRunTests {
  enum Copy: String, CaseIterable {
    case faithful, withoutLinks, withoutBest, directories, textFiles, withoutSteps, danglingBest
  }

  let folder: TemporaryFolder
  let run: RunDirectory

  init() throws {
    folder = try TemporaryFolder()
    run = RunDirectory(path: folder.file("run"))
  }

  /// A run of steps 1 to 3 whose best is 2, as `state.json` of step 3 says.
  private func copy(_ kind: Copy) throws {
    try run.create()
    let store = try CheckpointStore(lock: RunLock(run))
    for step in 1...3 {
      var state = state(step: step)
      if step == 3 { (state.bestStep, state.bestPerplexity) = (2, 50) }
      try withFiles([.model], seed: Float(step)) { _ = try store.write(files: $0, state: state) }
    }
    try store.markBest(2)
    for (link, step) in [("best", 2), ("last", 3)] {
      let path = "\(run.checkpointsPath)/\(link)"
      switch kind {
      case .faithful: break
      case .withoutLinks: unlink(path)
      case .withoutBest: if link == "best" { unlink(path) }
      case .textFiles: try replaceContent(path, Array("step-0000000\(step)".utf8))
      case .danglingBest:
        if link == "best" {
          unlink(path)
          try FileManager.default.createSymbolicLink(atPath: path, withDestinationPath: "step-00000009")
        }
      case .directories, .withoutSteps:
        unlink(path)
        try FileManager.default.copyItem(atPath: run.location(ofStep: step).path, toPath: path)
      }
    }
    if kind == .withoutSteps {
      for step in 1...3 { try FileManager.default.removeItem(atPath: run.location(ofStep: step).path) }
    }
  }

  private func firstWeight(_ checkpoint: Checkpoint) throws -> Float {
    try checkpoint.verify()
    return try checkpoint.tensors(.model).withFloats(of: "weight") { $0[0] }
  }

  @Test(arguments: Copy.allCases) func isReadAtItsBestCheckpoint(kind: Copy) throws {
    try copy(kind)
    let choice = try CheckpointChoice(run.path)
    #expect(choice.checkpoint.state.step == 2 && choice.isBest)
    #expect(try firstWeight(choice.checkpoint) == 2)
    #expect(choice.reason.hasPrefix("best of the run"), "\(choice.reason)")
    #expect(choice.newest.step == 3)
    for (link, step) in [("best", 2), ("last", 3)] where kind != .danglingBest {
      #expect(try Checkpoint.open("\(run.checkpointsPath)/\(link)").state.step == step)
    }
  }

  @Test(arguments: Copy.allCases) func canBeContinued(kind: Copy) throws {
    try copy(kind)
    let store = try CheckpointStore(lock: RunLock(run))
    let checkpoint = try #require(try store.newestVerified { Issue.record("\($0)") })
    #expect(checkpoint.state.step == 3)
    try store.rewind(to: 3, bestStep: 2, newer: .haveDiverged)
    try write(4, to: store)
    let steps = kind == .withoutSteps ? [2, 3, 4] : [1, 2, 3, 4]
    #expect(try store.list() == steps)
    #expect(try run.location(of: .best)?.step == 2 && run.location(of: .last)?.step == 4)
    // What a run writes are links to names beside them.
    let names = try FileManager.default.contentsOfDirectory(atPath: run.checkpointsPath).sorted()
    let files = kind == .textFiles ? ["best.set-aside", "last.set-aside"] : []
    #expect(names == (["best", "last"] + files + steps.map { "step-0000000\($0)" }).sorted())
  }

  /// A directory in place of a link is removed only where the checkpoint that it copies is good.
  @Test func aCopyIsKeptWhereItsCheckpointIsCorrupted() throws {
    try copy(.directories)
    try flipBit("\(run.location(ofStep: 3).path)/model.safetensors")
    _ = try CheckpointStore(lock: RunLock(run))
    let aside = try Checkpoint(directory: "\(run.checkpointsPath)/last.set-aside")
    #expect(try firstWeight(aside) == 3)
  }

  @Test func saysWhichCheckpointsCannotBeRead() throws {
    try copy(.withoutLinks)
    for step in 1...3 { try flipBit("\(run.location(ofStep: step).path)/state.json") }
    let error = try refusal { _ = try CheckpointChoice(run.path) }
    for step in 1...3 { #expect(error.contains("step-0000000\(step)/state.json: its checksum"), "\(error)") }
  }

  @Test func aNewerOneThatIsNotEvaluatedIsSaid() throws {
    try copy(.faithful)
    let choice = try CheckpointChoice(run.path)
    #expect(choice.warnings.count == 1)
    #expect(choice.warnings[0].contains("step-00000003 is newer and has not been evaluated"))
    let store = try CheckpointStore(lock: RunLock(run))
    var last = state(step: 4)
    last.lastEvaluation = .init(step: 4, perplexity: 60)
    (last.bestStep, last.bestPerplexity) = (2, 50)
    try withFiles([.model]) { _ = try store.write(files: $0, state: last) }
    #expect(try CheckpointChoice(run.path).warnings == [])
  }

  /// The run was continued, and killed before its next checkpoint.
  @Test func theEvaluationOfAStopCountsUntilThereIsANewerCheckpoint() throws {
    try copy(.faithful)
    let store = try CheckpointStore(lock: RunLock(run))
    var stopped = state(step: 4)
    (stopped.bestStep, stopped.bestPerplexity) = (2, 50)
    stopped.stopEvaluation = .init(step: 4, perplexity: 40)
    try withFiles([.model]) { _ = try store.write(files: $0, state: stopped) }
    try store.rewind(to: 4, bestStep: 2, newer: .haveDiverged)
    let choice = try CheckpointChoice(run.path)
    #expect(choice.checkpoint.state.step == 4 && choice.isBest && choice.warnings.isEmpty)
    #expect(stopped.best == .init(step: 4, perplexity: 40) && stopped.ownPerplexity == 40)
    try write(5, to: store)
    #expect(try CheckpointChoice(run.path).checkpoint.state.step == 2)
  }

  /// As the caches of Hugging Face and DVC have them.
  @Test func aFileMayBeOneLinkToARegularFileWhereAUserNamesIt() throws {
    try copy(.faithful)
    let path = "\(run.location(ofStep: 2).path)"
    for name in ["model.safetensors", "state.json"] {
      try FileManager.default.moveItem(atPath: "\(path)/\(name)", toPath: folder.file(name))
      try FileManager.default.createSymbolicLink(
        atPath: "\(path)/\(name)",
        withDestinationPath: name == "state.json" ? folder.file(name) : "../../../\(name)")
    }
    for named in [run.path, path] { #expect(try firstWeight(CheckpointChoice(named).checkpoint) == 2) }
    #expect(try refusal { _ = try Checkpoint(directory: path) }.contains("symbolic links"))
    // A link to a link, to a device or to nothing is refused.
    try FileManager.default.moveItem(atPath: folder.file("model.safetensors"), toPath: folder.file("m"))
    for target in [folder.file("m"), "/dev/zero", folder.file("none")] {
      unlink(folder.file("model.safetensors"))
      try FileManager.default.createSymbolicLink(
        atPath: folder.file("model.safetensors"), withDestinationPath: target)
      #expect(throws: MilmError.self) { try firstWeight(CheckpointChoice(path).checkpoint) }
    }
  }
}

/// What cannot be read is not damaged.
struct UnreadableCheckpointTests {
  /// In a separate process, which may have no more descriptors: all threads share them.
  @Test func costsNothing() async {
    await #expect(processExitsWith: .success) {
      let open = try OpenRun()
      for step in 1...3 { try write(step, to: open.store, seed: Float(step)) }
      let copy = RunDirectory(path: open.folder.file("copy"))
      try FileManager.default.copyItem(atPath: open.run.path, toPath: copy.path)
      let store = try CheckpointStore(lock: RunLock(copy))
      var limit = rlimit()
      getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
      // Directories can be listed, with one descriptor, and no file inside can be opened beside it.
      var taken: [Int32] = []
      while case let descriptor = Foundation.open("/dev/null", O_RDONLY), descriptor >= 0 {
        taken.append(descriptor)
      }
      close(taken.removeLast())
      let file = try OpenFile.reading("\(copy.location(ofStep: 1).path)/state.json")
      let error = #expect(throws: MilmError.self) {
        _ = try store.newestVerified { Issue.record("refused: \($0)") }
      }
      #expect(
        error.map { CheckpointDefect($0) } == .unreadable
          || error?.description.contains("Too many open files") == true)
      #expect(throws: MilmError.self) { try store.prune(keepLast: 1) }
      taken.forEach { close($0) }
      withExtendedLifetime(error) {}
      #expect(try file.byteCount() > 0)
      #expect(try store.list() == [1, 2, 3])
      #expect(try store.newestVerified { Issue.record("\($0)") }?.state.step == 3)
    }
  }

  @Test(arguments: [EIO, EMFILE, EACCES, ENOMEM, ESTALE] as [Int32])
  func isARefusalOfTheSystem(code: Int32) {
    #expect(CheckpointDefect(MilmError("a", cannot: "read", code: code)) == .unreadable)
  }

  @Test(arguments: [(ENOENT, CheckpointDefect.missing), (ENOTDIR, .missing), (ELOOP, .damaged)])
  func whatIsNotThereIsFoundWrong(code: Int32, defect: CheckpointDefect) {
    #expect(CheckpointDefect(MilmError("a", cannot: "open", code: code)) == defect)
    #expect(CheckpointDefect(MilmError("a: its sha256 differs")) == .damaged)
  }
}

/// Which checkpoints a store removes and which it only moves out of the way.
struct RetentionTests {
  let open: OpenRun
  var store: CheckpointStore { open.store }

  init() throws { open = try OpenRun() }

  private func write(_ step: Int, isScheduled: Bool) throws {
    var state = state(step: step)
    state.isScheduled = isScheduled
    try withFiles([.model]) { _ = try store.write(files: $0, state: state) }
  }

  /// A run that was stopped at 13 has the same checkpoints to return to as one that was not.
  @Test func aStopDoesNotCountAmongTheOnesThatAreKept() throws {
    for step in [5, 10, 13, 15, 20] { try write(step, isScheduled: step != 13) }
    try store.prune(keepLast: 3) { $0.isScheduled ?? true }
    #expect(try store.list() == [10, 13, 15, 20])
    try store.prune(keepLast: 2) { $0.isScheduled ?? true }
    #expect(try store.list() == [15, 20])
    try write(22, isScheduled: false)
    #expect(try store.scheduledStep(before: 22) { $0.isScheduled ?? true } == 20)
    try store.prune(keepLast: 2) { $0.isScheduled ?? true }
    #expect(try store.list() == [15, 20, 22])
    #expect(
      try store.newestVerified(where: { $0.isScheduled ?? true }, onRefusal: { _ in })?.state.step == 20)
  }

  @Test func newerOnesAreSetAsideWhereAUserGoesBack() throws {
    for step in 1...3 { try write(step, isScheduled: true) }
    try store.rewind(to: 1, bestStep: nil, newer: .areSetAside)
    for step in 2...3 { try write(step, isScheduled: true) }
    try store.rewind(to: 1, bestStep: nil, newer: .areSetAside)
    #expect(try store.list() == [1])
    let names = [2, 3].flatMap { ["step-0000000\($0).set-aside", "step-0000000\($0).set-aside-2"] }
    #expect(try open.entries() == (["last", "step-00000001"] + names).sorted())
    for name in names { try Checkpoint(directory: "\(open.run.checkpointsPath)/\(name)").verify() }
  }

  /// A resumed run that has diverged returns past checkpoints that it has refused or never read.
  @Test(arguments: ["model.safetensors", "state.json"]) func aDivergenceRemovesOnlyWhatThisProcessKnows(
    damaged: String
  ) throws {
    for step in 1...5 { try write(step, isScheduled: true) }
    let copy = RunDirectory(path: open.folder.file("copy"))
    try FileManager.default.copyItem(atPath: open.run.path, toPath: copy.path)
    for step in 4...5 { try flipBit("\(copy.location(ofStep: step).path)/\(damaged)") }
    let resumed = try CheckpointStore(lock: RunLock(copy))
    var refused: [Int] = []
    #expect(try resumed.newestVerified { refused.append($0.step) }?.state.step == 3)
    #expect(refused == [5, 4])
    try resumed.rewind(to: 1, bestStep: nil, newer: .haveDiverged)
    let aside = [2, 4, 5].map { "step-0000000\($0).set-aside" }
    let names = try FileManager.default.contentsOfDirectory(atPath: copy.checkpointsPath).sorted()
    #expect(names == ["last", "step-00000001"] + aside)
  }

  @Test func aDirectoryThatVanishesIsMadeAgain() throws {
    try write(1, isScheduled: true)
    try FileManager.default.removeItem(atPath: open.run.checkpointsPath)
    try write(2, isScheduled: true)
    #expect(try store.list() == [2])
    try FileManager.default.removeItem(atPath: open.run.path)
    try write(3, isScheduled: true)
    #expect(try open.entries() == ["last", "step-00000003"])
    #expect(try refusal { _ = try RunLock(open.run) }.contains("expected no other job in this run"))
  }

  @Test func theNewestIsKnownOutsideTheCheckpoints() throws {
    #expect(try open.run.checkpointRecord() == .absent)
    try open.run.recordNewestCheckpoint(nil)
    #expect(try open.run.checkpointRecord() == .none)
    for step in 1...2 { try write(step, isScheduled: true) }
    try FileManager.default.removeItem(atPath: open.run.location(ofStep: 2).path)
    #expect(try open.run.checkpointRecord() == .step(2, by: "\(open.run.checkpointsPath)/last"))
    try FileManager.default.removeItem(atPath: open.run.checkpointsPath)
    #expect(try open.run.checkpointRecord() == .step(2, by: open.run.newestCheckpointPath))
  }
}
