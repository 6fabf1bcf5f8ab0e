import Foundation
import Platform
import Testing

struct HostTests {
  @Test(arguments: [
    ("3", 1, [:], 2), ("3", 2, [:], 1), ("ff,00000001", 1, [:], 9), ("1", 4, [:], 1),
    ("f", 1, ["OMP_NUM_THREADS": "2"], 2),
    ("f", 2, ["OMP_NUM_THREADS": "99999999999"], 4), ("f", 2, ["OMP_NUM_THREADS": "many"], 2),
  ])
  func ranksShareTheProcessorsTheyMayUse(
    mask: String, rankCount: Int, environment: [String: String], expected: Int
  ) {
    #expect(Processors(mask: mask).threadCount(sharedBy: rankCount, environment: environment) == expected)
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
