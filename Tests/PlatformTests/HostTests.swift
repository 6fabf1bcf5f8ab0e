import Foundation
import Platform
import Testing

struct HostTests {
  @Test(arguments: [
    ("3", 1, [:], 2), ("3", 2, [:], 1), ("ff,00000001", 1, [:], 9), ("1", 4, [:], 1),
    ("f", 1, ["OMP_NUM_THREADS": "2"], 2),
    ("f", 2, ["OMP_NUM_THREADS": "99999999999"], 1024), ("f", 2, ["OMP_NUM_THREADS": "many"], 2),
    // A list has a number for each level of nested parallel regions.
    ("f", 1, ["OMP_NUM_THREADS": "3,2,1"], 3), ("f", 1, ["OMP_NUM_THREADS": " 2 , 4"], 2),
    ("f", 2, ["OMP_NUM_THREADS": "3,0"], 2), ("f", 2, ["OMP_NUM_THREADS": "-1"], 2),
    ("f", 2, ["OMP_NUM_THREADS": ""], 2), ("f", 2, ["OMP_NUM_THREADS": "3,"], 2),
    // OpenMP allows more threads than processors, for each process.
    ("3", 1, ["OMP_NUM_THREADS": "4"], 4), ("3", 2, ["OMP_NUM_THREADS": "4"], 4),
    ("3", 1, ["OMP_NUM_THREADS": "8", "OMP_THREAD_LIMIT": "5"], 5),
    ("3", 1, ["OMP_THREAD_LIMIT": "5"], 2), ("f", 1, ["OMP_THREAD_LIMIT": "2"], 2),
    ("f", 1, ["OMP_NUM_THREADS": "3", "OMP_THREAD_LIMIT": "2"], 2),
  ])
  func ranksShareTheProcessorsTheyMayUse(
    mask: String, rankCount: Int, environment: [String: String], expected: Int
  ) {
    #expect(Processors(mask: mask).threadCount(sharedBy: rankCount, environment: environment) == expected)
  }

  /// A quota bounds the threads of all ranks that share it, whatever OpenMP's variables ask for.
  @Test(arguments: [
    (0.5, 1, 1, [:], 1), (2.9, 1, 1, [:], 2), (4, 2, 2, [:], 2), (4, 2, 1, [:], 4), (100, 2, 2, [:], 4),
    (2, 2, 2, ["OMP_NUM_THREADS": "8"], 1), (3, 1, 1, ["OMP_NUM_THREADS": "2"], 2),
  ])
  func aQuotaBoundsTheThreads(
    quota: Double, rankCount: Int, quotaRankCount: Int, environment: [String: String], expected: Int
  ) {
    let processors = Processors(
      mask: "ff", quota: ControlGroups.Quota(processors: quota, directory: "/job", identity: "1:2"))
    #expect(
      processors.threadCount(
        sharedBy: rankCount, quotaSharedBy: quotaRankCount, environment: environment) == expected)
    #expect(processors.usableCount == min(8, max(1, Int(quota))))
  }

  @Test func allowedProcessorsAreAmongThoseOfTheHost() {
    #expect(Processors.allowed.count <= ProcessInfo.processInfo.processorCount)
  }

  @Test func factsOfThisHostArePlausible() {
    #expect(!Host.name.isEmpty)
    #expect(Host.availableByteCount.map { $0 > 1 << 20 } ?? true)
    #expect(Host.peakByteCount > 1 << 20)
    #expect(Host.freeByteCount("/").map { $0 >= 0 } == true)
    #expect(Host.value(of: "b", in: "a: 1\nb : 2 3\nb: 4") == "2 3")
  }
}
