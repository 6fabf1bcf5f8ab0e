import Foundation
import Synchronization
import TestSupport
import Testing

/// Ranks on several hosts, each with its own network, name and directories.
@Suite(.tags(.mpi), .serialized, .timeLimit(.minutes(5)), .whereLabsAreAllowed) struct LabTests {
  /// Gradients may be summed within a host first, so several hosts of two ranks may round differently from
  /// one host of four.
  @Test(
    arguments: [(hosts: 2, slots: 1), (hosts: 4, slots: 1), (hosts: 2, slots: 2)], ["replicated", "sharded"])
  func ranksOnSeveralHostsTrainLikeRanksOnOne(shape: (hosts: Int, slots: Int), vocabulary: String) throws {
    let (hosts, slots) = shape
    let bench = try CommandBench(wordCount: 2100)
    let lab = try Lab(hosts: hosts)
    let ranks = hosts * slots
    let there = bench.folder.file("there")
    let here = bench.folder.file("here")
    let settings = [
      "--set", "training.lanes=8", "--set", "exchange.codec=lossless", "--set",
      "exchange.vocabulary=\(vocabulary)",
    ]
    let run = try lab.milm(ranks: ranks, slots: slots, training(bench, to: there) + settings)
    try #require(run.status == 0, "\(run.transcript)")
    #expect(run.errors.contains("hosts=\(hosts)") && run.errors.contains("ranks=\(ranks)"))
    let alone = try mpirun(ranks, [program("milm")] + training(bench, to: here) + settings)
    try #require(alone.status == 0, "\(alone.transcript)")

    let (remote, local) = try (figures(of: there), figures(of: here))
    try #require(remote.count == local.count && remote.count > 3)
    for (left, right) in zip(remote, local) { #expect(abs(left - right) <= 1e-5 * right) }
    if slots == 1 {
      #expect(remote == local)
      #expect(try parameters(of: there) == parameters(of: here))
    }
  }

  /// Replicas are compared after every step, so ranks that differ in a bit end the run.
  @Test(arguments: [(hosts: 2, slots: 1), (hosts: 2, slots: 2), (hosts: 4, slots: 1)])
  func compressedRunsAcrossHostsAreBitReproducible(hosts: Int, slots: Int) throws {
    let bench = try CommandBench()
    let lab = try Lab(hosts: hosts)
    let runs = try (0..<2).map { number in
      let output = bench.folder.file("run-\(number)")
      let run = try lab.milm(
        ranks: hosts * slots, slots: slots, training(bench, to: output) + ["--set", "training.lanes=8"])
      try #require(run.status == 0, "\(run.transcript)")
      try expectConsistentTimes(in: "\(output)/metrics.jsonl")
      return output
    }
    #expect(try figures(of: runs[0]) == figures(of: runs[1]))
    #expect(try parameters(of: runs[0]) == parameters(of: runs[1]))
  }

  @Test func onlyTheFirstHostNeedsTheRunDirectory() throws {
    let bench = try CommandBench()
    let whole = try bench.train("whole", ranks: 2)
    let runs = bench.folder.file("runs")
    try FileManager.default.createDirectory(atPath: runs, withIntermediateDirectories: true)
    let lab = try Lab(hosts: 2, privateFolders: [runs, bench.corpus])
    let half = try lab.milm(ranks: 2, training(bench, to: "\(runs)/run") + ["--steps", "6"])
    #expect(half.status == 0, "\(half.transcript)")
    let rest = try lab.milm(ranks: 2, training(bench, to: "\(runs)/run") + ["--resume", "auto"])
    #expect(rest.status == 0 && rest.errors.contains("continuing"), "\(rest.transcript)")

    #expect(try lab.on(1, "ls", runs).output == "run\n")
    #expect(try lab.on(2, "ls", runs).output.isEmpty)
    #expect(try FileManager.default.contentsOfDirectory(atPath: runs).isEmpty)
    #expect(try lab.on(2, "ls", bench.corpus).output.contains("train.tokens"))
    let lines = try lab.on(1, "cat", "\(runs)/run/metrics.jsonl").output
    let last = try #require(try figures(in: lines).last)
    #expect(try abs(last - (#require(figures(of: whole).last))) < 0.01)
  }

  /// Cloned images and containers: hosts are what shares memory.
  @Test func hostsOfTheSameNameAreTwo() throws {
    let bench = try CommandBench()
    let lab = try Lab(hosts: 2, privateFolders: [bench.corpus])
    for host in 1...2 { try lab.on(host, "hostname", "node") }
    let arguments = training(bench, to: bench.folder.file("run"))
    let run = try lab.milm(ranks: 2, arguments)
    #expect(run.status == 0 && run.errors.contains("hosts=2"), "\(run.transcript)")
    let facts = try object(lab.milm(ranks: 2, ["doctor", "--json"]))
    #expect((facts["links"] as? [[String: Any]])?.first?["to"] as? String == "node#2", "\(facts)")

    // The header stays, so that only who reads the ids of this host finds them changed.
    try lab.on(
      2, "dd", "if=/dev/zero", "of=\(bench.corpus)/train.tokens", "bs=1", "seek=4000", "count=40",
      "conv=notrunc")
    let corrupted = try lab.milm(ranks: 2, training(bench, to: bench.folder.file("corrupted")))
    #expect(corrupted.status == 1, "\(corrupted.transcript)")
    #expect(corrupted.errors.contains("rank 1 (node#2)"), "\(corrupted.transcript)")
    #expect(corrupted.errors.contains("expected ids with checksum"), "\(corrupted.transcript)")
  }

  @Test func aRankKilledOnAnotherHostEndsTheJob() throws {
    let bench = try CommandBench()
    let lab = try Lab(hosts: 2)
    let output = bench.folder.file("run")
    let end = try whileTraining(bench, in: lab, output) {
      // The lab has one PID namespace: only processes of this host are killed.
      try lab.on(2, "sh", "-c", "exec pkill -9 --ns $$ --nslist uts milm")
    }
    #expect(end.run.status != 0)
    #expect(end.seconds < 30)
    #expect(end.run.errors.contains("\(lab.name)-2"), "\(end.run.transcript)")
  }

  @Test func aDisconnectedHostEndsTheJob() throws {
    let bench = try CommandBench()
    let lab = try Lab(hosts: 2)
    let output = bench.folder.file("run")
    let end = try whileTraining(bench, in: lab, output) { try lab.command(["link", "2", "down"]) }
    #expect(end.run.status != 0)
    // The configured limit, and a few seconds for mpirun to end.
    #expect(end.seconds < 40)
    // Ranks see it with Open MPI 4; with version 5 its launcher does, and ends them with status 0.
    let isSeenByRanks =
      end.run.errors.contains(" s without progress")
      && end.run.errors.contains(" for rank 1 (\(lab.name)-2)")
    #expect(
      isSeenByRanks || end.run.errors.contains("expected milm to report its end"), "\(end.run.transcript)")
  }

  @Test func aLabLeavesNothingBehind() throws {
    let folder = try TemporaryFolder()
    let interfaces = try start(["ip", "-oneline", "link"]).output
    var lab: Lab? = try Lab(hosts: 3, privateFolders: [folder.path])
    let name = try #require(lab?.name)
    let second = try lab?.command(["up", "--hosts", "2"])
    #expect(second?.status == 1 && second?.errors.split(separator: "\n").count == 1)
    #expect(try start(["ip", "-oneline", "link"]).output == interfaces)
    #expect(try start(["pgrep", "-f", "/run/milm-\(name)/"]).status == 0)
    lab = nil
    #expect(try start(["pgrep", "-f", "/run/milm-\(name)/"]).status == 1)
    #expect(!FileManager.default.fileExists(atPath: "/run/milm-\(name)"))
    #expect(try !String(contentsOfFile: "/proc/mounts", encoding: .utf8).contains(folder.path))
  }

  @Test(arguments: [
    (["up", "--hosts", "0"], 64), (["up", "--hosts", "2", "--rate", "fast"], 64),
    (["up", "--hosts", "2", "--private", "/no-such-folder"], 64), (["run", "--", "milm", "doctor"], 1),
    (["sideways"], 64),
  ])
  func wrongUsageIsReportedInOneLine(arguments: [String], status: Int) throws {
    let run = try Lab.script(arguments, lab: "mistake")
    #expect(run.status == status)
    #expect(run.errors.hasPrefix("lab: expected"), "\(run.transcript)")
    #expect(run.errors.split(separator: "\n").count == 1, "\(run.transcript)")
  }

  /// The parts of a step's time add up to no more than the whole.
  private func expectConsistentTimes(in path: String) throws {
    let lines = try objects(in: String(contentsOfFile: path, encoding: .utf8)).filter { $0["split"] == nil }
    var tokenCount = 0.0
    for line in lines {
      let value = { (key: String) in try #require(line[key] as? Double) }
      let seconds = try (value("tokens") - tokenCount) / value("tokensPerSecond")
      tokenCount = try value("tokens")
      let parts = try ["encodeSeconds", "wireSeconds", "decodeSeconds"].map(value)
      #expect(try parts.allSatisfy { $0 > 0 } && parts.reduce(0, +) <= value("exchangeSeconds"), "\(line)")
      #expect(try value("exposedSeconds") >= 0 && value("computeSeconds") > 0, "\(line)")
      #expect(try value("computeSeconds") + value("exposedSeconds") <= 1.01 * seconds, "\(line)")
    }
    #expect(tokenCount > 0)
  }

  private func training(_ bench: CommandBench, to output: String) -> [String] {
    ["train", bench.configuration, "--corpus", bench.corpus, "--output", output]
  }

  /// Trains without end on two hosts, calls `accident` after the first checkpoint, and measures the time from there to
  /// the end of the job.
  private func whileTraining(
    _ bench: CommandBench, in lab: Lab, _ output: String, _ accident: @escaping @Sendable () throws -> Void
  ) throws -> (run: ProgramRun, seconds: Double) {
    let began = Mutex<ContinuousClock.Instant?>(nil)
    let thread = Thread {
      for _ in 0..<600 where !FileManager.default.fileExists(atPath: "\(output)/checkpoints/last") {
        usleep(50_000)
      }
      began.withLock { $0 = .now }
      do { try accident() } catch { Issue.record(error) }
    }
    thread.start()
    let run = try lab.milm(
      ranks: 2,
      training(bench, to: output) + [
        "--set", "training.steps=10000000", "--set", "coordinator.evaluateEvery=0",
      ])
    let seconds = try #require(began.withLock { $0 }).duration(to: .now) / .seconds(1)
    return (run, seconds)
  }

  private func figures(of run: String) throws -> [Double] {
    try figures(in: String(contentsOfFile: "\(run)/metrics.jsonl", encoding: .utf8))
  }

  /// The losses of training, then the perplexities of evaluations, whose lines are written asynchronously.
  private func figures(in lines: String) throws -> [Double] {
    let objects = try objects(in: lines)
    let losses = objects.compactMap { $0["loss"] as? Double }
    let perplexities = objects.filter { $0["split"] != nil }.compactMap { $0["perplexity"] as? Double }
    try #require(losses.count + perplexities.count == objects.count)
    return losses + perplexities
  }

  private func objects(in lines: String) throws -> [[String: Any]] {
    try lines.split(separator: "\n").map { line in
      try #require(try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any])
    }
  }

  private func parameters(of run: String) throws -> Data {
    try Data(contentsOf: URL(filePath: "\(run)/checkpoints/last/model.safetensors"))
  }
}
