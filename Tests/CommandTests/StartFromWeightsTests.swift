import Foundation
import TestSupport
import Testing

/// `milm prepare --vocabulary` and `milm train --init` as users type them.
@Suite(.tags(.mpi), .serialized, .timeLimit(.minutes(5))) struct StartFromWeightsTests {
  @Test func aCorpusIsBuiltWithAGivenVocabularyAndARunStartedFromWeights() throws {
    let bench = try CommandBench()
    let run = try bench.train()
    let words = try String(contentsOfFile: "\(bench.corpus)/vocabulary.txt", encoding: .utf8)
      .split(separator: "\n").map(String.init)
    let lines = (0..<60).map { "\(words[$0 * 3 % words.count]) \(words[$0 * 5 % words.count]) never-seen" }
    let text = try bench.folder.write(lines.joined(separator: "\n") + "\n", to: "text.txt").path
    var hashes: Set<String> = []
    for source in [bench.corpus, run, "\(run)/vocabulary.txt"] {
      let result = try object(
        try bench.milm(
          "prepare", "--vocabulary", source, "--train", text, "--valid", text, "--output",
          bench.folder.file("same"), "--json"))
      hashes.insert(result["vocabularyHash"] as? String ?? "")
      let train = (result["splits"] as? [String: [String: Int]])?["train"]
      #expect(train?["unknownTokens"] == 60 && train?["tokens"] == 240 && train?["lines"] == 60)
    }
    #expect(hashes.count == 1)
    let own = try bench.milm(
      "prepare", "--train", text, "--valid", text, "--output", bench.folder.file("own"))
    #expect(own.status == 0)

    for (corpus, rankCount, output) in [("same", 1, "a"), ("same", 2, "b"), ("own", 2, "c")] {
      let trained = try bench.mpirunMilm(
        rankCount, "train", bench.configuration, "--corpus", bench.folder.file(corpus), "--output",
        bench.folder.file(output), "--init", run)
      #expect(trained.status == 0, "\(trained.transcript)")
      #expect(trained.errors.contains("started from weights"))
      #expect(trained.errors.contains("tokens keep their rows") == (corpus == "own"), "\(trained.errors)")
      let sessions = try String(
        contentsOfFile: bench.folder.file("\(output)/sessions.jsonl"), encoding: .utf8)
      let inspected = try bench.milm("inspect", bench.folder.file(output))
      let row = try #require(inspected.output.split(separator: "\n").first { $0.hasPrefix("started from") })
      let digest = try #require(row.split(separator: " ").last)
      #expect(digest.count == 64 && sessions.contains(digest))
    }
    let dry = try bench.milm(
      "train", bench.configuration, "--corpus", bench.folder.file("same"), "--output", bench.folder.file("d"),
      "--init", run, "--set", "model.hidden=20", "--dry-run")
    #expect(
      dry.status == 1 && dry.errors.contains("expected decoder.context.weight of shape [3, 20]"),
      "\(dry.transcript)"
    )
  }

  @Test(arguments: [
    ["prepare", "--vocabulary", "c", "--train", "t", "--output", "o", "--min-count", "2"],
    ["prepare", "--vocabulary", "c", "--generate", "4000", "--output", "o"],
    ["train", "c.yaml", "--corpus", "c", "--output", "o", "--init", "r", "--resume", "r/checkpoints/last"],
    ["train", "--single-node-test", "--init", "r"],
  ])
  func impossibleCombinationsAreWrongUsage(arguments: [String]) throws {
    let result = try start([program("milm")] + arguments)
    #expect(result.status == 64, "\(result.transcript)")
  }

  @Test func aFolderWithoutAVocabularyIsNamed() throws {
    let bench = try CommandBench()
    let text = try bench.folder.write("a b\n", to: "text.txt").path
    let result = try bench.milm(
      "prepare", "--vocabulary", bench.folder.path, "--train", text, "--output", bench.folder.file("new"))
    #expect(
      result.status == 1 && result.errors.contains("expected a corpus or a run"), "\(result.transcript)")
  }
}
