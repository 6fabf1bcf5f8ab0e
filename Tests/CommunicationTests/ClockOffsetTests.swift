import Communication
import Foundation
import TestSupport
import Testing

struct ClockOffsetTests {
  /// Nanoseconds that each rank's clock is ahead: some more than a day, in both directions.
  static let skews = [0, 3_000_000_000, -90_000_000_000_000, 1234]

  @Test func measuresTheOffsetOfEachClockFromRankZero() throws {
    let begun = ContinuousClock.now
    let offsets = try onLocalRanks(4) { communicator, _ in
      try ClockOffset.measure(over: communicator) {
        nanoseconds(since: begun) + Self.skews[communicator.rank]
      }
    }
    #expect(offsets[0] == ClockOffset(nanoseconds: 0, errorNanoseconds: 0))
    for rank in 1..<4 {
      let offset = offsets[rank]
      #expect(offset.errorNanoseconds > 0)
      #expect(abs(offset.nanoseconds + Self.skews[rank]) <= offset.errorNanoseconds, "rank \(rank)")
    }
  }

  @Test func ranksThatShareMemoryShareAClock() throws {
    let offsets = try onLocalRanks(4, ranksPerNode: 2) { communicator, _ in
      try ClockOffset.measure(over: communicator) { nanoseconds(since: .now) }
    }
    #expect(offsets[1] == ClockOffset(nanoseconds: 0, errorNanoseconds: 0))
  }

  @Test(arguments: [1, 3]) func gathersBytesOfDifferentCounts(rankCount: Int) throws {
    let gathered = try onLocalRanks(rankCount) { communicator, _ in
      try communicator.gather(
        "bytes", Array(repeating: UInt8(communicator.rank), count: 5 * communicator.rank), to: 0)
    }
    #expect(gathered[0] == (0..<rankCount).map { Array(repeating: UInt8($0), count: 5 * $0) })
    #expect(gathered.dropFirst().allSatisfy { $0.isEmpty })
  }
}

private func nanoseconds(since begun: ContinuousClock.Instant) -> Int {
  let (seconds, attoseconds) = (ContinuousClock.now - begun).components
  return Int(seconds) * 1_000_000_000 + Int(attoseconds / 1_000_000_000)
}
