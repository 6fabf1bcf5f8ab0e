import Checkpoints
import Foundation
import TestSupport
import Testing

extension Tag {
  @Tag static var mpi: Self
}

/// From text to perplexity under `mpirun`, as users do it.
@Suite(.tags(.mpi), .serialized, .timeLimit(.minutes(5))) struct JobTests {
  @Test(arguments: [1, 2, 3])
  func trainsEvaluatesAndSamples(rankCount: Int) throws {
    let bench = try CommandBench()
    let run = try bench.train(ranks: rankCount)
    let alone = try object(try bench.milm("evaluate", run, "--corpus", bench.corpus, "--json"))
    let distributed = try object(
      try bench.mpirunMilm(rankCount, "evaluate", run, "--corpus", bench.corpus, "--json"))
    #expect(
      Set(alone.keys).isSuperset(of: [
        "split", "tokens", "nll", "perplexity", "unknownTokens", "streams", "tokensPerSecond", "parameters",
        "checkpoint", "step",
      ]))
    let expected = try #require(alone["perplexity"] as? Double)
    let found = try #require(distributed["perplexity"] as? Double)
    #expect(abs(found - expected) <= 1e-6 * expected)
    #expect(expected < 402)

    let samples = try (0..<2).map { _ in
      try bench.milm("generate", run, "--tokens", "20", "--seed", "3")
    }
    #expect(samples[0].status == 0 && samples[0].output == samples[1].output)
    #expect(!samples[0].output.trimmingCharacters(in: .whitespacesAndNewlines).isEmpty)
  }

  @Test func losesNothingWhenARankIsKilled() throws {
    let bench = try CommandBench()
    let output = bench.folder.file("run")
    let arguments = [
      program("milm"), "train", bench.configuration, "--corpus", bench.corpus, "--output", output, "--resume",
      "auto", "--set", "training.steps=100000", "--set", "coordinator.evaluateEvery=0",
    ]
    let killer = Thread {
      // The ranks are this run's own: the output directory is in no other command line.
      let checkpoint = "\(output)/checkpoints/last"
      for _ in 0..<300 where !FileManager.default.fileExists(atPath: checkpoint) { usleep(50_000) }
      _ = try? start(["pkill", "-9", "-n", "-f", "^\(program("milm")) train.*\(output)"])
    }
    killer.start()
    let clock = ContinuousClock()
    let begun = clock.now
    let killed = try mpirun(2, arguments)
    #expect(killed.status != 0)
    #expect(clock.now - begun < .seconds(30))

    let resumed = try mpirun(2, arguments + ["--steps", "12"])
    // More than 12 steps may have been taken before the kill; either way it resumes from a checkpoint.
    #expect(resumed.status == 0, "\(resumed.transcript)")
    #expect(resumed.errors.contains("continuing"))
  }

  @Test(arguments: [1, 2])
  func theSingleNodeTestPasses(rankCount: Int) throws {
    let run = try mpirun(rankCount, [program("milm"), "train", "--single-node-test"])
    #expect(run.status == 0, "\(run.transcript)")
    #expect(run.output.contains("10 passed, 0 failed"))
  }

  @Test func stopsAndResumesOnTheCommandLine() throws {
    let bench = try CommandBench()
    let output = bench.folder.file("run")
    let start = ["train", bench.configuration, "--corpus", bench.corpus, "--output", output]
    let first = try mpirun(2, [program("milm")] + start + ["--steps", "6", "--json"])
    #expect(try object(first)["step"] as? Int == 6)
    let refused = try mpirun(2, [program("milm")] + start)
    #expect(refused.status == 1)
    #expect(refused.errors.contains("already holds a run"))
    let rest = try mpirun(2, [program("milm")] + start + ["--resume", "auto", "--json"])
    let outcome = try object(rest)
    #expect(outcome["finished"] as? Bool == true)
    #expect(outcome["bestStep"] as? Int != nil)
  }

  /// With every rank a node of its own, and with both on one node.
  @Test(arguments: ["1", "auto"]) func autoDecidesOnceWhereTheVocabularyIs(ranksPerNode: String) throws {
    let bench = try CommandBench(wordCount: 1500)
    let output = bench.folder.file("run")
    let start =
      [program("milm"), "train", bench.configuration, "--corpus", bench.corpus, "--output", output]
      + ["--set", "exchange.vocabulary=auto", "--set", "exchange.ranksPerNode=\(ranksPerNode)"]
    let first = try mpirun(2, start + ["--steps", "6"])
    #expect(first.status == 0, "\(first.transcript)")
    let decisions = first.errors.split(separator: "\n").filter {
      $0.contains("s per step predicted with int8")
    }
    #expect(decisions.count == 1, "\(first.transcript)")
    let groupSize = try Checkpoint(directory: "\(output)/checkpoints/last").state.vocabularyGroupSize
    let isSharded = decisions.contains { $0.contains("vocabulary sharded in groups of 2 of 2 ranks (auto: ") }
    let isReplicated = decisions.contains { $0.contains("vocabulary replicated (auto: ") }
    #expect(groupSize == (isSharded ? 2 : 1) && isSharded != isReplicated, "\(first.transcript)")
    let rest = try mpirun(2, start + ["--resume", "auto"])
    #expect(rest.status == 0 && !rest.errors.contains("predicted with"), "\(rest.transcript)")
    #expect(
      try Checkpoint(directory: "\(output)/checkpoints/last").state.vocabularyGroupSize == groupSize)
  }

  @Test func aDryRunWritesNothing() throws {
    let bench = try CommandBench()
    let output = bench.folder.file("run")
    let run = try bench.mpirunMilm(
      2, "train", bench.configuration, "--corpus", bench.corpus, "--output", output, "--dry-run")
    #expect(run.status == 0 && run.errors.contains("parameters="))
    #expect(!FileManager.default.fileExists(atPath: output))
  }

  @Test func aTextOutsideTheCorpusIsScoredWithTheRunsVocabulary() throws {
    let bench = try CommandBench()
    let run = try bench.train()
    let vocabulary = try String(contentsOfFile: "\(run)/vocabulary.txt", encoding: .utf8)
    let word = try #require(vocabulary.split(separator: "\n").first { !$0.hasPrefix("<") })
    let text = try bench.folder.write("\(word) \(word) unheard-of\n\(word)\n", to: "letter.txt").path
    let result = try object(try bench.milm("evaluate", run, "--text", text, "--json"))
    #expect(result["split"] is NSNull)
    #expect(result["tokens"] as? Int == 6)
    #expect(result["unknownTokens"] as? Int == 1)
  }

  @Test func rawTextIsTokenizedForARunOnATokenizedCorpus() throws {
    let folder = try TemporaryFolder()
    let bench = try CommandBench()
    let text = String(repeating: "Well, the cat's hat (red) costs 1,500.\nThe cat sat.\n", count: 60)
    let file = try folder.write(text, to: "raw.txt").path
    let corpus = folder.file("corpus")
    let prepared = try bench.milm(
      "prepare", "--tokenize", "--train", file, "--test", file, "--output", corpus)
    try #require(prepared.status == 0, "\(prepared.transcript)")
    let run = folder.file("run")
    let trained = try bench.milm(
      "train", bench.configuration, "--corpus", corpus, "--output", run, "--set", "training.steps=2")
    try #require(trained.status == 0, "\(trained.transcript)")
    let split = try object(try bench.milm("evaluate", run, "--corpus", corpus, "--json"))
    let other = try object(try bench.milm("evaluate", run, "--text", file, "--json"))
    #expect(other["tokens"] as? Int == split["tokens"] as? Int)
    #expect(other["unknownTokens"] as? Int == 0)
    #expect(other["nll"] as? Double == split["nll"] as? Double)
  }

  @Test(arguments: [
    ("lanes", 5, "training.lanes: expected a multiple of the 5 ranks, found 6"),
    ("configuration", 2, "unknown key model.hiden; the nearest known key is model.hidden"),
    ("corpus", 3, "milm prepare builds a corpus"),
  ])
  func whatAllRanksFindIsSaidOnceAndEndsTheJob(mistake: String, rankCount: Int, expected: String) throws {
    let bench = try CommandBench()
    let corpus = mistake == "corpus" ? bench.folder.file("nowhere") : bench.corpus
    var arguments = ["train", bench.configuration, "--corpus", corpus, "--output", bench.folder.file("run")]
    if mistake == "configuration" { arguments += ["--set", "model.hiden=3"] }
    let run = try mpirun(rankCount, [program("milm")] + arguments)
    #expect(run.status == (mistake == "configuration" ? 64 : 1), "\(run.transcript)")
    #expect(run.errors.components(separatedBy: expected).count == 2, "\(run.transcript)")
    #expect(!FileManager.default.fileExists(atPath: bench.folder.file("run")))
  }
}
