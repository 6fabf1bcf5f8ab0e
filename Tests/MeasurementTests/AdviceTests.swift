import Measurement
import Platform
import Testing

/// Advice from the facts of ranks.
struct AdviceTests {
  /// Hosts of different names are different hosts.
  private func healthy(_ host: String = "a") -> RankFacts {
    var facts = RankFacts()
    facts.host = host
    facts.node = host.unicodeScalars.reduce(0) { 256 * $0 + Int($1.value) }
    facts.processor = "P"
    facts.hostProcessorCount = 8
    facts.processorCount = 8
    facts.processorMask = "ff"
    facts.threadCount = 8
    facts.engine = "E"
    facts.mpi = "M"
    facts.version = "1"
    facts.interfaces = ["eth0"]
    facts.tcpInterfaces = ["eth0"]
    facts.diskByteCount = 100_000_000_000
    facts.sharedMemoryByteCount = 1_000_000_000
    return facts
  }

  private func advice(
    _ ranks: [RankFacts], gigabits: [Double] = [], offsets: [Double]? = nil
  ) -> [String] {
    let links = gigabits.enumerated().map {
      Diagnosis.Link(
        from: "h\($0.offset)", to: "h\($0.offset + 1)", latencySeconds: 1e-4, gigabitsPerSecond: $0.element)
    }
    return Advice(
      ranks: ranks, links: links, clockOffsets: offsets ?? ranks.map { _ in 0 }, uncertainty: 1e-3
    ).lines
  }

  @Test func healthyHostsGetNoAdvice() {
    #expect(advice([healthy()]).isEmpty)
    #expect(advice([healthy("a"), healthy("b")], gigabits: [25]).isEmpty)
  }

  @Test func aRankBoundToOneCoreIsReported() {
    var bound = healthy()
    (bound.processorCount, bound.processorMask, bound.threadCount) = (1, "01", 1)
    let lines = advice([bound])
    #expect(lines.count == 1 && lines[0].contains("1 of 8 processors") && lines[0].contains("--bind-to none"))
  }

  @Test func ranksBoundToTheirShareGetNoAdvice() {
    let ranks = ["0f", "f0"].map { mask in
      var facts = healthy()
      (facts.processorCount, facts.processorMask, facts.threadCount) = (4, mask, 4)
      return facts
    }
    #expect(advice(ranks).isEmpty)
  }

  @Test func moreThreadsThanProcessorsAreReported() {
    let lines = advice([healthy(), healthy()])
    #expect(lines.count == 1 && lines[0].contains("8 processors for 16 compute threads of 2 ranks"))
  }

  @Test func hostsOfTheSameNameAreTwo() {
    let first = healthy()
    var second = healthy()
    second.node += 1
    #expect(advice([first, second], gigabits: [25]).isEmpty)
  }

  @Test func aQuotaBelowTheProcessorsIsReported() {
    var limited = healthy()
    (limited.processorQuota, limited.threadCount) = (0.5, 1)
    let lines = advice([limited])
    #expect(lines.count == 1 && lines[0].contains("the time of 0.50 of 8 processors"), "\(lines)")
    limited.processorQuota = 8
    #expect(advice([limited]).isEmpty)
  }

  /// Names found in ranks of Open MPI 4.1.4 and 5.0.11.
  @Test func whatMpirunAddsIsNoSettingOfTheUser() {
    let own = ["OMPI_MCA_btl": "self,sm", "OMPI_MCA_plm_rsh_agent": "ssh -p 2222"]
    let added = [
      "orte_hnp_uri", "ess_base_jobid", "pmix_base", "initial_wdir", "PREFIXES", "num_procs", "cpu_type",
      "shmem_RUNTIME_QUERY_hint",
    ].reduce(into: ["HOME": "/root", "PMIX_MCA_gds": "hash"]) { $0["OMPI_MCA_\($1)"] = "x" }
    #expect(RankFacts.mpiSettings(in: own.merging(added) { $1 }) == own)
  }

  @Test func aBusyHostIsReportedFirst() {
    var busy = healthy("b")
    (busy.otherLoad, busy.mpi) = (6.5, "Open MPI 5")
    let lines = advice([healthy("a"), busy], gigabits: [25])
    #expect(lines.count == 2 && lines[0].contains("keep 6.50 of 8 processors of b busy"), "\(lines)")
    busy = healthy()
    busy.otherLoad = 0.1
    #expect(advice([busy]).isEmpty)
  }

  @Test func hostsThatDifferAreNamed() {
    var other = healthy("b")
    other.mpi = "Open MPI 5"
    let lines = advice([healthy("a"), other], gigabits: [25])
    #expect(lines.count == 1 && lines[0].contains("MPI differs: a has M, b has Open MPI 5"))
  }

  @Test func bridgesAreReportedUnlessAnInterfaceIsChosen() {
    var first = healthy("a")
    first.tcpInterfaces = ["docker0", "eth1"]
    let lines = advice([first, healthy("b")], gigabits: [25])
    #expect(lines.count == 1 && lines[0].contains("docker0") && lines[0].contains("--interface eth1"))
    first.tcpInterfaces = ["docker0"]
    first.transports.tcpIncluded = ["docker0"]
    #expect(advice([first, healthy("b")], gigabits: [25]).isEmpty)
    // Left out, or of no use to what MPI sends with.
    first = healthy("a")
    first.interfaces = ["docker0", "eth0"]
    #expect(advice([first, healthy("b")], gigabits: [25]).isEmpty)
  }

  @Test func aSlowLinkAmongFastOnesIsNamed() {
    let ranks = ["h0", "h1", "h2", "h3"].map(healthy)
    let lines = advice(ranks, gigabits: [25, 4, 25])
    #expect(lines.count == 1 && lines[0].contains("h1 – h2") && lines[0].contains("4.00 Gbit/s"))
    #expect(advice(ranks, gigabits: [1, 1, 1]).contains { $0.contains("exchange.codec") })
  }

  @Test func littleSpaceAndClockOffsetsAreReported() {
    var first = healthy("a")
    first.diskByteCount = 1_000_000
    #expect(advice([first])[0].contains("1 MB of free disk"))
    #expect(advice([first])[0].contains("takes 12 (adam) or 8 (sgd) bytes per parameter"))
    first = healthy("a")
    (first.sharedMemoryByteCount, first.threadCount) = (64_000_000, 4)
    #expect(advice([first, first])[0].contains("64 MB in /dev/shm"))
    let lines = advice([healthy("a"), healthy("b")], gigabits: [25], offsets: [0, -5])
    #expect(lines.count == 1 && lines[0].contains("clock of b"))
  }

  @Test(arguments: [
    ("Prescott", ["avx2", "avx512f", "avx512_vnni"], "SkylakeX"), ("Prescott", ["avx2"], "Haswell"),
    ("Prescott", [], nil), ("Haswell", ["avx2", "avx512f", "avx512_vnni"], nil),
  ])
  func oldKernelsOfOpenBLASAreReportedWithTheRemedy(core: String, sets: [String], remedy: String?) {
    var facts = healthy()
    (facts.openBLASCore, facts.instructionSets) = (core, sets)
    #expect(advice([facts]).isEmpty)
    facts.usesOpenBLAS = true
    let lines = advice([facts])
    #expect(lines.count == (remedy == nil ? 0 : 1), "\(lines)")
    if let remedy { #expect(lines[0].contains("OPENBLAS_CORETYPE=\(remedy)"), "\(lines)") }
  }

  @Test func anEngineWithoutBfloat16GetsAdviceByItsCause() {
    var facts = healthy()
    facts.engineNote = "this build has no oneDNN, which multiplies bfloat16 numbers"
    facts.hasOneDNN = false
    #expect(advice([facts])[0].contains("libdnnl-dev"))
    facts.engineNote = "this processor has no products of bfloat16 numbers"
    facts.hasOneDNN = true
    #expect(advice([facts])[0].contains("float32"))
  }
}
