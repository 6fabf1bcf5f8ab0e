import Foundation
import TestSupport
import Testing

/// Where commands write: what is already there is looked at first.
@Suite(.tags(.mpi), .serialized, .timeLimit(.minutes(3))) struct OutputTests {
  private let bench: CommandBench
  private let run: String

  init() throws {
    bench = try CommandBench()
    run = try bench.train()
  }

  @Test func lossesPerTokenGoThroughADevice() throws {
    let full = try bench.milm("evaluate", run, "--corpus", bench.corpus, "--per-token", "/dev/full")
    #expect(
      full.status == 1 && full.errors.contains("/dev/full: cannot write: No space left on device"),
      "\(full.transcript)")
    let printed = try bench.milm(
      "evaluate", run, "--corpus", bench.corpus, "--per-token", "/dev/stdout", "--json")
    #expect(
      printed.status == 0 && printed.output.hasPrefix("position\tword\tnll\n0\t"), "\(printed.transcript)")
  }

  @Test func noCommandWritesIntoADirectoryOfAnotherKind() throws {
    let study = bench.folder.file("study")
    try FileManager.default.createDirectory(atPath: "\(study)/settings", withIntermediateDirectories: true)
    try bench.folder.write("{}", to: "study/config.json")
    let commands = [
      ["prepare", "--generate", "1000"], ["prepare", "wikitext-103"],
      ["train", bench.configuration, "--corpus", bench.corpus],
      ["train", bench.configuration, "--corpus", bench.corpus, "--dry-run"],
      ["train", bench.configuration, "--corpus", bench.corpus, "--resume", "auto"], ["study", "multitask"],
    ]
    let folders = [
      ("corpus", bench.corpus), ("run", run), ("checkpoint", "\(run)/checkpoints/last"), ("study", study),
      ("file", bench.configuration),
    ]
    let kinds = ["prepare": "corpus", "train": "run", "study": "study"]
    for command in commands {
      let kind = kinds[command[0]]
      for (found, path) in folders where found != kind {
        let result = try start([program("milm")] + command + ["--output", path])
        let expected = "\(path): expected a new directory or a \(kind ?? "") to write, found a \(found)"
        #expect(result.status == 1 && result.errors.contains(expected), "\(result.transcript)")
      }
    }
    #expect(try bench.milm("inspect", bench.corpus).status == 0)
    #expect(try bench.milm("inspect", run).status == 0)
  }
}
