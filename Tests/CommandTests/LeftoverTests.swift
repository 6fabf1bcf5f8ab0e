import Foundation
import TestSupport
import Testing

/// What killed jobs leave on a host, and `cluster/launch.sh` removes: that of dead processes of this user alone.
struct LeftoverTests {
  private func removeLeftovers(_ temporary: String) throws {
    let script = ". cluster/common.sh && remove_leftovers"
    let run = try start(
      ["bash", "-euo", "pipefail", "-c", "cd '\(repositoryFolder.path)' && \(script)"],
      environment: ["TMPDIR": temporary])
    #expect(run.status == 0 && run.errors.isEmpty, "\(run.transcript)")
  }

  /// The id of a process that has ended.
  private func deadProcess() throws -> Int32 {
    let program = try RunningProgram(["true"])
    _ = program.wait()
    return program.processID
  }

  private func hostName() throws -> String {
    try start(["uname", "-n"]).output.trimmingCharacters(in: .newlines)
  }

  @Test func sessionFoldersOfDeadProcessesAreRemoved() throws {
    let folder = try TemporaryFolder()
    let host = try hostName()
    let session = "ompi.\(host.split(separator: ".")[0]).\(getuid())"
    let (dead, alive) = ("pid.\(try deadProcess())", "pid.\(getpid())")
    for name in [
      "\(session)/\(dead)/0/0", "\(session)/\(alive)/0", "\(session)/pid.odd",
      "ompi.other.\(getuid())/\(dead)",
    ] {
      try FileManager.default.createDirectory(atPath: folder.file(name), withIntermediateDirectories: true)
    }
    try folder.write("x", to: "\(session)/\(dead)/contact.txt")
    try removeLeftovers(folder.path)
    #expect(try folder.entries(session) == [alive, "pid.odd"].sorted())
    #expect(try folder.entries("ompi.other.\(getuid())") == [dead])
  }

  @Test func segmentsThatNoProcessMapsAreRemoved() throws {
    let folder = try TemporaryFolder()
    let host = try hostName().split(separator: ".")[0]
    let unique = "milm-test-\(getpid())"
    let (mapped, unmapped) = (
      "/dev/shm/vader_segment.\(host).\(getuid()).\(unique).0",
      "/dev/shm/vader_segment.\(host).\(getuid()).\(unique).1"
    )
    defer {
      unlink(mapped)
      unlink(unmapped)
    }
    for path in [mapped, unmapped] { try Data(count: 4096).write(to: URL(filePath: path)) }
    let file = open(mapped, O_RDWR)
    defer { close(file) }
    let memory = try #require(mmap(nil, 4096, PROT_READ, MAP_SHARED, file, 0))
    defer { munmap(memory, 4096) }
    try removeLeftovers(folder.path)
    #expect(FileManager.default.fileExists(atPath: mapped))
    #expect(!FileManager.default.fileExists(atPath: unmapped))
  }
}
