import Foundation
import TestSupport
import Testing

/// `milm evaluate` as users type it.
@Suite(.tags(.mpi), .serialized, .timeLimit(.minutes(5))) struct EvaluateTests {
  /// The ways of reading that ranks can share, and the keys that say so.
  private static let ways: [(options: [String], key: String)] = [
    ([], "perplexity"), (["--streams", "4"], "streams"), (["--window", "20"], "window"),
    (["--cache", "100", "--cache-theta", "0.5", "--cache-lambda", "0.05"], "cache"),
  ]

  @Test func ranksOfAJobPrintWhatOneProcessPrints() throws {
    let bench = try CommandBench()
    let run = try bench.train()
    for (options, key) in Self.ways {
      let arguments = [program("milm"), "evaluate", run, "--corpus", bench.corpus, "--json"] + options
      let alone = try object(try start(arguments))
      let expected = try #require(alone["perplexity"] as? Double)
      #expect(alone[key] != nil && !(alone[key] is NSNull))
      #expect((alone["reservations"] as? [String])?.count == (options.isEmpty ? 0 : 1))
      for rankCount in [1, 2, 3] {
        let distributed = try object(try mpirun(rankCount, arguments))
        let found = try #require(distributed["perplexity"] as? Double)
        #expect(abs(found - expected) <= 1e-6 * expected, "\(options) on \(rankCount) ranks")
        #expect(distributed["ranks"] as? Int == rankCount)
        for key in ["tokens", "unknownTokens", "step", "parameters", "streams"] {
          #expect(distributed[key] as? Int == alone[key] as? Int, "\(key)")
        }
      }
    }
  }

  /// Of runs that stopped between evaluations, and of copies without links.
  @Test func theOutputSaysWhichCheckpointWasReadAndWhy() throws {
    let bench = try CommandBench()
    let run = bench.folder.file("run")
    let trained = try bench.milm(
      "train", bench.configuration, "--corpus", bench.corpus, "--output", run, "--steps", "6", "--json")
    #expect(try object(trained)["bestStep"] as? Int == 6)
    func evaluated() throws -> ProgramRun {
      let result = try bench.milm("evaluate", run, "--corpus", bench.corpus)
      #expect(result.status == 0, "\(result.transcript)")
      return result
    }
    let first = try evaluated()
    #expect(
      first.output.contains("step-00000006, step 6,")
        && first.output.contains("  best of the run\n"))
    let inspected = try bench.milm("inspect", run)
    #expect(inspected.output.contains(" at step 6\n") && inspected.output.contains("best of the run"))
    for link in ["best", "last"] { unlink("\(run)/checkpoints/\(link)") }
    #expect(try evaluated().output.contains("best of the run according to state.json of step 6"))
    #expect(try object(bench.milm("inspect", run, "--json"))["bestStep"] as? Int == 6)
    let named = try object(
      bench.milm("evaluate", "\(run)/checkpoints/step-00000004", "--corpus", bench.corpus, "--json"))
    #expect(named["checkpointReason"] as? String == "it was named" && named["step"] as? Int == 4)
    let resumed = try bench.milm(
      "train", bench.configuration, "--corpus", bench.corpus, "--output", run, "--resume", "auto")
    #expect(resumed.status == 0, "\(resumed.transcript)")
    #expect(
      try FileManager.default.destinationOfSymbolicLink(atPath: "\(run)/checkpoints/last") == "step-00000012")
  }

  @Test func theTableSaysWhatIsNotComparable() throws {
    let bench = try CommandBench()
    let run = try bench.train()
    func output(_ options: String...) throws -> String {
      let result = try start([program("milm"), "evaluate", run, "--corpus", bench.corpus] + options)
      #expect(result.status == 0, "\(result.transcript)")
      return result.output
    }
    let plain = try output()
    #expect(!plain.contains("note") && plain.contains("<unk>") && plain.contains("11 to"))
    #expect(try output("--streams", "3").contains("not comparable with one stream"))
    #expect(try output("--window", "10").contains("windows of 10 tokens"))
    #expect(try output("--cache", "50").contains("not the model alone"))
    let learnt = try output("--dynamic", "--dynamic-rate", "0.2", "--cache", "50")
    #expect(learnt.contains("learns from what it has scored") && learnt.contains("neural cache"))
  }

  @Test func theLossesOfATextFilesTokensAreListed() throws {
    let bench = try CommandBench()
    let run = try bench.train()
    let text = try bench.folder.write("no word of it is known\n", to: "letter.txt").path
    let table = bench.folder.file("letter.tsv")
    let result = try object(
      try mpirun(2, [program("milm"), "evaluate", run, "--text", text, "--per-token", table, "--json"]))
    let lines = try String(contentsOfFile: table, encoding: .utf8).split(separator: "\n")
    #expect(lines.count == 8 && lines[1].hasPrefix("0\t<unk>\t") && lines[7].hasPrefix("6\t<eos>\t"))
    #expect(result["unknownTokens"] as? Int == 6 && result["tokens"] as? Int == 7)
  }

  /// Raw text for a model of tokenized text has many unknown tokens, and a perplexity that looks good.
  @Test func aTextThatIsNotLikeTheCorpusIsSaidToBe() throws {
    let bench = try CommandBench()
    let text = try bench.folder.write(
      String(repeating: "A house, a tree; the sea.\n", count: 60), to: "like.txt"
    ).path
    let other = try bench.folder.write("Qwerty uiop asdf ghjkl.\n", to: "unlike.txt").path
    for (tokenizes, alike, unlike) in [(false, 1, 2), (true, 0, 1)] {
      let corpus = bench.folder.file("corpus-\(tokenizes)")
      let run = bench.folder.file("run-\(tokenizes)")
      let prepared = try start(
        [program("milm"), "prepare", "--train", text, "--valid", text, "--output", corpus]
          + (tokenizes ? ["--tokenize"] : []))
      try #require(prepared.status == 0, "\(prepared.transcript)")
      let trained = try bench.milm("train", bench.configuration, "--corpus", corpus, "--output", run)
      try #require(trained.status == 0, "\(trained.transcript)")
      for (file, count) in [(text, alike), (other, unlike)] {
        let result = try bench.milm("evaluate", run, "--corpus", corpus, "--text", file, "--json")
        #expect((try object(result)["warnings"] as? [String])?.count == count, "\(result.transcript)")
        #expect(
          result.errors.components(separatedBy: "milm: warning: ").count == count + 1, "\(result.errors)")
      }
      let split = try object(
        try bench.milm("evaluate", run, "--corpus", corpus, "--split", "valid", "--json"))
      #expect((split["warnings"] as? [String])?.isEmpty == true)
      let generated = try bench.milm("generate", run, "--prompt", "Qwerty uiop", "--tokens", "2")
      #expect(generated.errors.contains("2 of the prompt's 2 tokens are not in the vocabulary"))
    }
  }

  @Test(arguments: [
    ["--streams", "0"], ["--window", "0"], ["--window", "5", "--streams", "1"], ["--cache", "0"],
    ["--cache", "9", "--streams", "2"], ["--cache", "9", "--window", "7"], ["--cache-theta", "1"],
    ["--cache", "9", "--cache-lambda", "1"], ["--cache", "9", "--cache-theta", "-1"],
    ["--cache", "9", "--precision", "bfloat16"], ["--dynamic", "--window", "5"], ["--dynamic-rate", "1"],
    ["--dynamic", "--dynamic-rate", "nan"], ["--dynamic", "--dynamic-segment", "0"],
    ["--per-token", "f", "--streams", "2"],
  ])
  func impossibleCombinationsAreWrongUsage(options: [String]) throws {
    let run = try start([program("milm"), "evaluate", "run", "--corpus", "corpus"] + options)
    #expect(run.status == 64, "\(run.transcript)")
  }

  @Test func learningOnSeveralRanksIsRefusedInOneLine() throws {
    let bench = try CommandBench()
    let run = try bench.train()
    let result = try mpirun(
      2, [program("milm"), "evaluate", run, "--corpus", bench.corpus, "--dynamic"])
    #expect(result.status != 0)
    #expect(result.errors.components(separatedBy: "expected one rank").count == 2, "\(result.transcript)")
  }
}
