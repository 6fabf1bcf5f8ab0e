import Foundation
import TestSupport
import Testing

/// `milm doctor` and `milm plan`, alone and under `mpirun`.
@Suite(.tags(.mpi), .serialized, .timeLimit(.minutes(3))) struct PlanningCommandTests {
  @Test(arguments: [1, 2])
  func doctorLooksAtEveryRank(ranks: Int) throws {
    let run = try mpirun(ranks, [program("milm"), "doctor", "--json"])
    let found = try object(run)
    #expect((found["ranks"] as? [Any])?.count == ranks)
    #expect((found["links"] as? [Any])?.isEmpty == true)
    #expect((found["clockOffsets"] as? [Double])?.allSatisfy { abs($0) < 1 } == true)
    let first = try #require((found["ranks"] as? [[String: Any]])?.first)
    #expect((first["mpi"] as? String)?.contains(usesOpenMPI ? "Open MPI" : "MPI") == true)
    #expect((first["engine"] as? String)?.isEmpty == false)
  }

  @Test(.enabled(if: usesOpenMPI, "Open MPI alone says so")) func doctorNamesWhatMPISendsWith() throws {
    let arguments = [program("milm"), "doctor"]
    let chosen = ["--mca", "pml", "ob1", "--mca", "btl", "self,tcp", "--mca", "btl_tcp_if_include", "lo"]
    let found = try object(mpirun(2, chosen + arguments + ["--json"]))
    for rank in try #require(found["ranks"] as? [[String: Any]]) {
      let transports = try #require(rank["transports"] as? [String: Any])
      #expect(transports["pml"] as? [String] == ["ob1"])
      #expect(transports["btl"] as? [String] == ["self", "tcp"])
      #expect(transports["tcpIncluded"] as? [String] == ["lo"])
      #expect(rank["tcpInterfaces"] as? [String] == ["lo"])
    }
    let table = try mpirun(2, chosen + arguments)
    #expect(table.output.contains("pml ob1, btl self,tcp"), "\(table.transcript)")
    #expect(table.output.contains("lo, by btl_tcp_if_include=lo"), "\(table.transcript)")
  }

  /// QEMU shows the program another processor than /proc/cpuinfo does; model 207 is newer than OpenBLAS 0.3.21.
  @Test(
    .enabled(
      if: FileManager.default.isExecutableFile(atPath: "/usr/bin/qemu-x86_64-static"),
      "qemu-user-static is not installed"),
    arguments: [
      ("Nehalem", [], "Nehalem"), ("Haswell", ["avx2"], "Haswell"), ("max,family=6,model=207", ["avx2"], nil),
    ])
  func doctorNamesWhatTheProcessMayUse(processor: String, instructions: [String], core: String?) throws {
    let run = try start(["qemu-x86_64-static", "-cpu", processor, program("milm"), "doctor", "--json"])
    let rank = try #require((object(run)["ranks"] as? [[String: Any]])?.first)
    #expect(rank["instructionSets"] as? [String] == instructions)
    #expect(core == nil || rank["openBLASCore"] as? String == core, "\(run.transcript)")
  }

  @Test(.enabled(if: ProcessInfo.processInfo.activeProcessorCount > 1, "expected two processors"))
  func doctorNamesARankThatIsBound() throws {
    let run = try start(["taskset", "--cpu-list", "0", program("milm"), "doctor"])
    #expect(run.status == 0, "\(run.transcript)")
    #expect(run.output.contains("rank 0") && run.output.contains("may run on 1 of"), "\(run.transcript)")
  }

  @Test func planPredictsTheStepAndTheCurve() throws {
    let bench = try CommandBench()
    let plan = try object(
      bench.milm(
        "plan", bench.configuration, "--corpus", bench.corpus, "--ranks", "2", "--link", "1", "--epochs", "3",
        "--set", "exchange.ranksPerNode=1", "--json"))
    let step = try #require(plan["step"] as? [String: Any])
    let seconds = try #require(step["secondsPerStep"] as? Double)
    #expect(seconds > 0 && (step["bytesPerStep"] as? Int ?? 0) > 0)
    let curve = try #require(plan["curve"] as? [[String: Any]])
    #expect(curve.compactMap { $0["ranks"] as? Int } == (0...10).map { 1 << $0 })
    let (epoch, all) = try (#require(plan["hoursPerEpoch"] as? Double), #require(plan["hours"] as? Double))
    #expect(abs(all - 3 * epoch) < 1e-9 * all)
    #expect((plan["assumptions"] as? [String])?.isEmpty == true)
  }

  @Test func planSaysHowLongTheRunIsAndWhatItAssumes() throws {
    let bench = try CommandBench()
    let plan = try object(bench.milm("plan", bench.configuration, "--set", "training.steps=5000", "--json"))
    let step = try #require((plan["step"] as? [String: Any])?["secondsPerStep"] as? Double)
    let hours = try #require(plan["hours"] as? Double)
    #expect(abs(hours - 5000 * step / 3600) < 1e-6 * hours && plan["steps"] as? Int == 5000)
    #expect((plan["assumptions"] as? [String])?.count == 3 && plan["vocabularySize"] as? Int == 267_735)
    let table = try bench.milm("plan", bench.configuration, "--vocabulary-size", "500")
    #expect(table.output.contains("for 12 steps ("), "\(table.transcript)")
    #expect(table.output.contains("assumes WikiText-103's 103227021 tokens per epoch"))
    #expect(!table.output.contains("assumes WikiText-103's vocabulary"))
    #expect(table.output.contains("assumes a link of 10 Gbit/s between hosts; --link sets another"))
  }

  @Test(arguments: ["inf", "nan", "0", "-1", "1e999"]) func planRefusesALinkThatIsNoSpeed(link: String) throws
  {
    let run = try start([program("milm"), "plan", "none.yaml", "--link=\(link)"])
    #expect(run.status == 64 && run.output.isEmpty, "\(run.transcript)")
    #expect(run.errors.hasPrefix("Error: --link: expected Gbit/s above 0, found "), "\(run.transcript)")
  }

  /// Other programs compete for every processor.
  @Test func aBusyMachineIsReported() throws {
    let bench = try CommandBench()
    let others = try (0..<ProcessInfo.processInfo.activeProcessorCount).map { _ in
      try RunningProgram(["timeout", "60", "sh", "-c", "while :; do :; done"])
    }
    defer { others.forEach { kill($0.processID, SIGTERM) } }
    let doctor = try object(start([program("milm"), "doctor", "--json"]))
    let advice = try #require(doctor["advice"] as? [String])
    #expect(advice.contains { $0.contains("processors of") && $0.contains("busy") }, "\(advice)")
    let plan = try object(
      bench.milm("plan", bench.configuration, "--corpus", bench.corpus, "--ranks", "2", "--json"))
    #expect((plan["otherLoad"] as? Double ?? 0) > 0.2, "\(plan)")
    let caveats = try #require(plan["caveats"] as? [String])
    #expect(caveats.contains { $0.contains("the predicted times are too long") }, "\(caveats)")
    #expect(plan["computeSpread"] is Double)
  }

  @Test func planRefusesRanksThatDoNotDivideTheLanes() throws {
    let bench = try CommandBench()
    let run = try start([
      program("milm"), "plan", bench.configuration, "--vocabulary-size", "100", "--ranks", "7",
    ])
    #expect(run.status == 1 && run.errors.contains("training.lanes"), "\(run.transcript)")
  }
}
