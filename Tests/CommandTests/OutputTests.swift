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

  /// The record of a result is appended to a regular file alone; the result is printed all the same.
  @Test func aResultIsPrintedThoughItsRecordIsALinkOrAPipe() throws {
    let text = try bench.folder.write("what a user has written\n", to: "notes.txt").path
    let record = "\(run)/evaluations.jsonl"
    let kinds: [() -> CInt] = [{ symlink(text, record) }, { mkfifo(record, 0o600) }]
    for make in kinds {
      unlink(record)
      #expect(make() == 0)
      let result = try bench.milm("evaluate", run, "--corpus", bench.corpus, "--json")
      #expect(result.status == 0, "\(result.transcript)")
      let perplexity = try object(result)["perplexity"] as? Double
      #expect(perplexity != nil)
      #expect(result.errors.contains("milm compare does not know this result"), "\(result.transcript)")
    }
    #expect(try String(contentsOfFile: text, encoding: .utf8) == "what a user has written\n")
  }

  /// An output replaces an earlier one of its own kind, and nothing else.
  @Test func noOutputReplacesAnotherFile() throws {
    let text = try bench.folder.write("what a user has written\n", to: "notes.txt").path
    let checkpoint = "\(run)/checkpoints/last"
    let others = [
      text, bench.configuration, "\(bench.corpus)/train.tokens", "\(bench.corpus)/corpus.json",
      "\(bench.corpus)/vocabulary.txt", "\(run)/metrics.jsonl", "\(run)/config.yaml",
      "\(checkpoint)/state.json", "\(checkpoint)/model.safetensors",
    ]
    let page = bench.folder.file("page.html")
    let losses = bench.folder.file("losses.tsv")
    let commands = [
      (["report", run, "--output"], page, losses),
      (["evaluate", run, "--corpus", bench.corpus, "--per-token"], losses, page),
    ]
    for (command, own, _) in commands {
      try bench.folder.write("", to: URL(filePath: own).lastPathComponent)
      for _ in 1...2 {
        let result = try start([program("milm")] + command + [own])
        #expect(result.status == 0, "\(result.transcript)")
      }
    }
    for (command, _, other) in commands {
      for path in others + [other] {
        let before = try Data(contentsOf: URL(filePath: path))
        let result = try start([program("milm")] + command + [path])
        #expect(
          result.status == 1 && result.errors.contains("\(path): expected a new file, or an earlier output"),
          "\(result.transcript)")
        #expect(try Data(contentsOf: URL(filePath: path)) == before)
      }
    }
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
