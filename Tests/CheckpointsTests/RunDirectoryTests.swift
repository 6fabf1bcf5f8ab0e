import Checkpoints
import Foundation
import TestSupport
import Testing

struct RunDirectoryTests {
  let folder: TemporaryFolder
  let run: RunDirectory

  init() throws {
    folder = try TemporaryFolder()
    run = RunDirectory(path: folder.file("a/b"))
  }

  @Test func isCreatedWithItsParents() throws {
    try run.create()
    try run.create()
    #expect(try FileManager.default.contentsOfDirectory(atPath: run.path) == ["checkpoints"])
    let attributes = try FileManager.default.attributesOfItem(atPath: run.path)
    #expect((attributes[.posixPermissions] as? Int ?? 0) & 0o022 == 0)
  }

  /// In a separate process, because all threads share the working directory.
  @Test(arguments: ["r", "r/", "a/b", "./r", "r//b"])
  func mayHaveARelativePath(path: String) async {
    await #expect(processExitsWith: .success) { [path = path as String] in
      let folder = try TemporaryFolder()
      #expect(chdir(folder.path) == 0)
      try RunDirectory(path: path).create()
      #expect(FileManager.default.fileExists(atPath: "\(path)/checkpoints"))
    }
  }

  /// In a separate process, because all threads share the umask.
  @Test(arguments: [0o000, 0o022, 0o077] as [mode_t])
  func onlyTheOwnerMayWriteInARun(mask: mode_t) async {
    await #expect(processExitsWith: .success) { [mask = mask as mode_t] in
      umask(mask)
      let open = try OpenRun()
      try open.run.writeConfiguration("a: 1\n")
      try write(1, to: open.store)
      let names = try FileManager.default.subpathsOfDirectory(atPath: open.run.path)
      #expect(names.count == 9, "\(names)")
      for name in names + ["."] where !name.hasSuffix("/last") {
        var status = stat()
        #expect(stat("\(open.run.path)/\(name)", &status) == 0)
        #expect(status.st_mode & (mask | 0o022) == 0, "\(name) has mode \(String(status.st_mode, radix: 8))")
      }
    }
  }

  @Test func targetsOfLinksInACheckpointAreNeverRemoved() throws {
    try run.create()
    let store = try CheckpointStore(lock: RunLock(run))
    for step in 1...3 { try write(step, to: store) }
    let elsewhere = folder.file("elsewhere")
    try FileManager.default.createDirectory(atPath: elsewhere, withIntermediateDirectories: false)
    try folder.write("mine", to: "elsewhere/letter")
    try FileManager.default.createSymbolicLink(
      atPath: "\(run.location(ofStep: 1).path)/more", withDestinationPath: elsewhere)
    try store.prune(keepLast: 1)
    #expect(try store.list() == [3])
    #expect(try bytes("\(elsewhere)/letter") == Array("mine".utf8))
  }

  @Test func removesLeftoversOfKilledProcesses() throws {
    try run.create()
    for name in [".config.yaml.x1.tmp", ".vocabulary.txt.x2.tmp", ".metrics.jsonl.x3.tmp", "notes.tmp"] {
      try Data("half".utf8).write(to: URL(filePath: "\(run.path)/\(name)"))
    }
    _ = try CheckpointStore(lock: RunLock(run))
    let names = try FileManager.default.contentsOfDirectory(atPath: run.path).sorted()
    #expect(names == ["checkpoints", "lock", "notes.tmp"])
  }

  @Test func knowsWhetherItHoldsARun() throws {
    #expect(try !run.holdsRun())
    try run.create()
    #expect(try !run.holdsRun())
    try run.writeConfiguration("a: 1\n")
    try run.writeConfiguration("a: 2\n")
    #expect(try run.holdsRun())
    #expect(try bytes(run.configurationPath) == Array("a: 2\n".utf8))
    #expect(
      try FileManager.default.contentsOfDirectory(atPath: run.path).sorted() == [
        "checkpoints", "config.yaml",
      ])

    try FileManager.default.removeItem(atPath: run.configurationPath)
    try write(1, to: CheckpointStore(lock: RunLock(run)))
    #expect(try run.holdsRun())
  }

  @Test func refusesCheckpointsThatAreALink() throws {
    try run.create()
    let elsewhere = folder.file("elsewhere")
    try FileManager.default.moveItem(atPath: run.checkpointsPath, toPath: elsewhere)
    try FileManager.default.createSymbolicLink(atPath: run.checkpointsPath, withDestinationPath: elsewhere)
    #expect(try refusal { try run.create() }.contains("checkpoints: expected a directory"))
    #expect(try refusal { _ = try run.checkpointSteps() }.contains("checkpoints: expected a directory"))
    #expect(try refusal { _ = try CheckpointStore(lock: RunLock(run)) }.contains("expected a directory"))
  }

  @Test(
    arguments: ["best", "last"],
    ["/tmp", "../x", "../checkpoints/step-00000001", "./step-00000001", "step-1", "step-00000001/", "last/x"])
  func refusesALinkOutOfTheRun(link: String, target: String) throws {
    try run.create()
    let store = try CheckpointStore(lock: RunLock(run))
    try write(1, to: store)
    let path = "\(run.checkpointsPath)/\(link)"
    try? FileManager.default.removeItem(atPath: path)
    try FileManager.default.createSymbolicLink(atPath: path, withDestinationPath: target)
    #expect(
      try refusal { _ = try Checkpoint.open(run.path) }
        == "\(path): expected a link to step-… beside it, found \(target)")
  }

  @Test func refusesACheckpointThatIsALink() throws {
    try run.create()
    let store = try CheckpointStore(lock: RunLock(run))
    try write(1, to: store)
    let elsewhere = folder.file("elsewhere")
    try FileManager.default.moveItem(atPath: run.location(ofStep: 1).path, toPath: elsewhere)
    try FileManager.default.createSymbolicLink(
      atPath: run.location(ofStep: 1).path, withDestinationPath: elsewhere)
    #expect(try store.list() == [])
    #expect(
      try refusal { _ = try Checkpoint.open(run.path) }.contains("expected the directory of a checkpoint"))
  }

  @Test func opensNothingBeforeTheFirstCheckpoint() throws {
    #expect(try refusal { _ = try Checkpoint.open(run.path) }.contains("expected a checkpoint or a run"))
    try run.create()
    #expect(try refusal { _ = try Checkpoint.open(run.path) }.contains("expected a checkpoint or a run"))
  }
}
