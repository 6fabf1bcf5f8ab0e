import Foundation
import TestSupport
import Testing

/// Many runs side by side: `sweep`, `compare`, `report` and `watch`.
@Suite(.serialized, .timeLimit(.minutes(5))) struct SweepTests {
  private func sweep(_ bench: CommandBench, _ extra: String...) -> [String] {
    [
      program("milm"), "sweep", bench.configuration, "--corpus", bench.corpus, "--output",
      bench.folder.file("sweep"),
    ] + extra
  }

  /// 13 lanes do not fit into the segment limit of the text: that run fails, the others are compared.
  @Test func aSweepTrainsComparesAndIsResumed() throws {
    let bench = try CommandBench()
    let arguments = sweep(
      bench, "--set", "model.variant=lstm,multdec", "--set", "training.seed=1,2", "--parallel", "2", "--test")
    let first = try start(arguments + ["--json"])
    #expect(first.status == 0, "\(first.transcript)")
    let result = try object(first)
    let comparison = try #require(result["comparison"] as? [String: Any])
    let rows = try #require(comparison["runs"] as? [[String: Any]])
    #expect(rows.count == 2)
    for row in rows {
      #expect((row["seeds"] as? [String])?.sorted() == ["1", "2"] && row["step"] as? Int == 12)
      // The mean of what the runs themselves say.
      let paths = try #require(row["paths"] as? [String])
      for (key, file) in [("bestValid", "metrics.jsonl"), ("test", "evaluations.jsonl")] {
        let values = try paths.map { try bestPerplexity("\($0)/\(file)") }
        #expect(abs((row[key] as? Double ?? 0) - values.reduce(0, +) / 2) < 1e-9, "\(key)")
        #expect(abs((row["\(key)Error"] as? Double ?? 0) - abs(values[0] - values[1]) / 2) < 1e-9, "\(key)")
      }
    }
    let page = try #require(result["page"] as? String)
    #expect(try String(contentsOfFile: page, encoding: .utf8).contains("Comparison of 4 runs"))

    // The same again trains nothing; one more value trains one more pair.
    let again = try start(arguments)
    #expect(
      again.status == 0 && again.errors.matches(of: /was finished before/).count == 4, "\(again.transcript)")
    let more = try start(
      sweep(bench, "--set", "model.variant=lstm,multencdec", "--set", "training.seed=1,2"))
    #expect(
      more.status == 0 && more.errors.matches(of: /was finished before/).count == 2, "\(more.transcript)")
    #expect(more.output.contains("variant=multencdec (2 seeds)"))
    // The directory of a sweep stands for all of its runs.
    let csv = try bench.milm("compare", bench.folder.file("sweep"), "--csv")
    #expect(csv.status == 0 && csv.output.split(separator: "\n").count == 4, "\(csv.transcript)")
    let run = bench.folder.file("sweep/variant=lstm,seed=1")
    let html = bench.folder.file("two.html")
    let two = try bench.milm(
      "report", run, bench.folder.file("sweep/variant=multdec,seed=1"), "--output", html)
    #expect(two.status == 0, "\(two.transcript)")
    #expect(try String(contentsOfFile: html, encoding: .utf8).contains("Comparison of 2 runs"))
    let twice = try bench.milm("compare", run, "\(run)/")
    #expect(twice.status == 1 && twice.errors.contains("found this one twice"), "\(twice.transcript)")
  }

  private func bestPerplexity(_ path: String) throws -> Double {
    let lines = try String(contentsOfFile: path, encoding: .utf8).split(separator: "\n")
    let values = try lines.compactMap { line -> Double? in
      let object = try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any]
      return object?["split"] == nil ? nil : object?["perplexity"] as? Double
    }
    return try #require(values.min())
  }

  @Test func aFailedRunEndsNothingButTheStatus() throws {
    let bench = try CommandBench()
    // More lanes than the text has tokens.
    let run = try start(sweep(bench, "--set", "training.lanes=6,9000"))
    #expect(run.status == 1, "\(run.transcript)")
    #expect(
      run.errors.contains("lanes=9000 failed with status 1: ") && run.errors.contains("logs/lanes=9000.log"))
    #expect(run.output.contains("lanes=6"))
    let wrong = try start(sweep(bench, "--set", "training.lanes=6,x"))
    #expect(wrong.status == 64 && wrong.errors.split(separator: "\n").count == 1, "\(wrong.transcript)")
    let other = try start(
      [program("milm"), "sweep", bench.configuration, "--corpus", bench.corpus, "--output", bench.corpus])
    #expect(other.status == 1 && other.errors.contains("found a corpus"), "\(other.transcript)")
    let ranks = try start(sweep(bench), environment: ["PMI_RANK": "0", "PMI_SIZE": "2"])
    #expect(ranks.status == 64 && ranks.errors.contains("--launch"), "\(ranks.transcript)")
  }

  /// Both runs stop with a checkpoint, and the same command finishes them.
  @Test(arguments: [SIGINT, SIGTERM]) func aSignalStopsTheRunsOfASweep(signal: Int32) throws {
    let bench = try CommandBench()
    func arguments(_ steps: Int) -> [String] {
      sweep(
        bench, "--set", "training.seed=1,2", "--parallel", "2", "--set", "training.steps=\(steps)", "--set",
        "schedule.kind=constant")
    }
    let job = try RunningProgram(arguments(10_000_000) + ["--json"])
    for seed in 1...2 {
      #expect(waits { try bench.lastStep("sweep/seed=\(seed),steps=10000000,kind=constant") >= 4 })
    }
    kill(job.processID, signal)
    let ended = job.wait()
    #expect(ended.status == 75, "\(ended.transcript)")
    #expect(try object(ended)["interrupted"] as? Bool == true)
    #expect(ended.errors.contains("interrupted after 0 of 2 runs; continue with: "), "\(ended.transcript)")
    for seed in 1...2 {
      let name = "sweep/seed=\(seed),steps=10000000,kind=constant"
      let sessions = try String(contentsOfFile: bench.folder.file("\(name)/sessions.jsonl"), encoding: .utf8)
      #expect(sessions.contains("\"ended\":\"interrupted\""), "\(sessions)")
      let watched = try bench.milm("watch", bench.folder.file(name), "--json")
      #expect(watched.status == 75, "\(watched.transcript)")
      #expect(try object(watched)["step"] as? Int == bench.lastStep(name))
      let full = try start([
        "bash", "-c", "'\(program("milm"))' watch '\(bench.folder.file(name))' >/dev/full",
      ])
      #expect(full.status == 75 && full.errors.contains("cannot write"), "\(full.transcript)")
    }
  }

  private func waits(_ condition: () throws -> Bool) -> Bool {
    for _ in 0..<600 {
      if let isMet = try? condition(), isMet { return true }
      usleep(50_000)
    }
    return false
  }

  @Test func watchingFollowsARunToItsEnd() throws {
    let bench = try CommandBench()
    let output = bench.folder.file("run")
    let none = try bench.milm("watch", output)
    #expect(none.status == 1 && none.errors.contains("expected a run that trains"), "\(none.transcript)")
    let job = try RunningProgram([
      program("milm"), "train", bench.configuration, "--corpus", bench.corpus, "--output", output, "--set",
      "training.steps=10000000", "--set", "coordinator.evaluateEvery=1000", "--set",
      "coordinator.checkpointEvery=1000", "--steps", "3000",
    ])
    #expect(job.says("step=8 "))
    let watch = try RunningProgram([program("milm"), "watch", output, "--interval", "0.05"])
    #expect(watch.says(" secondsLeft="))
    let (trained, watched) = (job.wait(), watch.wait())
    #expect(trained.status == 0 && watched.status == 0, "\(watched.transcript)")
    #expect(watched.errors.contains("step=3000 steps=3000 "), "\(watched.transcript)")
    #expect(watched.output.contains("3000, stopped") && watched.output.contains("valid perplexity"))
  }

  /// A process that is killed leaves no record of its end.
  @Test func watchingEndsWithAKilledProcess() throws {
    let bench = try CommandBench()
    let job = try RunningProgram([
      program("milm"), "train", bench.configuration, "--corpus", bench.corpus, "--output",
      bench.folder.file("run"),
      "--set", "training.steps=10000000",
    ])
    #expect(job.says("checkpoint written"))
    let watch = try RunningProgram([program("milm"), "watch", bench.folder.file("run"), "--interval", "0.05"])
    #expect(watch.says("step="))
    kill(job.processID, SIGKILL)
    _ = job.wait()
    let watched = watch.wait()
    #expect(watched.status == 1 && watched.output.contains(", killed"), "\(watched.transcript)")
  }
}
