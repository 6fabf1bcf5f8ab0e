import Foundation
import TestSupport
import Testing

/// What a start checks, and what one that fails leaves behind: nothing.
@Suite(.timeLimit(.minutes(3))) struct StartTests {
  private let bench: CommandBench
  private let run: String

  init() throws {
    bench = try CommandBench()
    run = try bench.train()
  }

  private func train(_ output: String, _ options: String...) throws -> ProgramRun {
    try start(
      [program("milm"), "train", bench.configuration, "--corpus", bench.corpus, "--output", output] + options)
  }

  private func corrupt() throws {
    let file = URL(filePath: "\(run)/checkpoints/step-00000012/model.safetensors")
    var bytes = try Data(contentsOf: file)
    bytes[bytes.count - 9] ^= 1
    try bytes.write(to: file)
  }

  @Test func aDryRunLooksAtTheRunAndWritesNothing() throws {
    let before = try FileManager.default.subpathsOfDirectory(atPath: bench.folder.path).sorted()
    let refused = try train(run, "--dry-run")
    #expect(refused.status == 1 && refused.errors.contains("already holds a run"), "\(refused.transcript)")
    let continued = try object(try train(run, "--dry-run", "--resume", "auto", "--json"))
    #expect(continued["step"] as? Int == 12)
    let longer = try train(run, "--dry-run", "--resume", "auto", "--set", "training.steps=40")
    #expect(longer.status == 0 && longer.errors.contains("(× "), "\(longer.transcript)")
    let different = try train(run, "--dry-run", "--resume", "auto", "--set", "model.hidden=3")
    #expect(different.status == 1 && different.errors.contains("model.hidden: 16 in the run, 3 now"))
    let new = try object(try train(bench.folder.file("a/b"), "--dry-run", "--json"))
    #expect(new["step"] as? Int == 0)
    let below = try train("\(bench.configuration)/run", "--dry-run")
    #expect(below.status == 1 && below.errors.contains("Not a directory"), "\(below.transcript)")
    try corrupt()
    let damaged = try train(
      bench.folder.file("new"), "--dry-run", "--resume", "\(run)/checkpoints/step-00000012")
    #expect(damaged.status == 1 && damaged.errors.contains("is corrupted"), "\(damaged.transcript)")
    #expect(try FileManager.default.subpathsOfDirectory(atPath: bench.folder.path).sorted() == before)
  }

  @Test func aFailedStartLeavesNothingBehind() throws {
    try corrupt()
    try FileManager.default.createDirectory(
      atPath: bench.folder.file("empty"), withIntermediateDirectories: false)
    try bench.folder.write("mine", to: "empty/note")
    for output in ["new", "some/new/folder", "empty"] {
      let failed = try train(bench.folder.file(output), "--resume", "\(run)/checkpoints/step-00000012")
      #expect(failed.status == 1 && failed.errors.contains("is corrupted"), "\(failed.transcript)")
    }
    #expect(try bench.folder.entries() == ["corpus", "empty", "run", "tiny.yaml"])
    #expect(try bench.folder.entries("empty") == ["note"])
    let again = try train(bench.folder.file("empty"))
    #expect(again.status == 0, "\(again.transcript)")
  }
}
