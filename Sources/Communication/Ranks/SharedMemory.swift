import Synchronization

/// Memory that the ranks of one node see together: a counter of arrivals and an area for each of them.
///
/// Allocated once, when nobody else uses the communicator it came from. One thread of each rank uses it.
///
/// `@unchecked Sendable`: the counters are atomic; who may touch which bytes changes at `meet` alone.
public final class SharedMemory: @unchecked Sendable {
  /// Bytes before an area: a cache line for the counter of its rank.
  static let headerByteCount = 64

  /// The ranks that share it, ascending.
  let ranks: [Int]
  /// An area for each rank, in their order.
  let areas: [UnsafeMutableRawBufferPointer]
  private let arrivals: [UnsafeMutablePointer<Atomic<UInt64>>]
  private let ownIndex: Int
  private var meetingCount: UInt64 = 0
  private let check: @Sendable () throws -> Void

  /// Memory of one piece a rank, `headerByteCount` and an area, all zero, which stays longer than this object;
  /// `check` throws where waiting makes no sense any more.
  init(
    ranks: [Int], rank: Int, pieces: [UnsafeMutableRawBufferPointer],
    check: @escaping @Sendable () throws -> Void = {}
  ) {
    guard let ownIndex = ranks.firstIndex(of: rank) else {
      preconditionFailure("rank \(rank) is not of \(ranks)")
    }
    self.ranks = ranks
    self.ownIndex = ownIndex
    self.check = check
    areas = pieces.map { UnsafeMutableRawBufferPointer(rebasing: $0[Self.headerByteCount...]) }
    arrivals = pieces.map { piece in
      guard let start = piece.baseAddress else { preconditionFailure("memory without an address") }
      return start.assumingMemoryBound(to: Atomic<UInt64>.self)
    }
  }

  /// This rank's number among them.
  var localIndex: Int { ownIndex }

  /// Waits until all ranks of the node have come here; what they wrote before is then seen.
  func meet(_ watch: StallWatch) throws {
    meetingCount += 1
    let count = meetingCount
    arrivals[ownIndex].pointee.store(count, ordering: .releasing)
    var watch = watch
    defer { watch.end() }
    var pace = WaitPace()
    for arrival in arrivals {
      while arrival.pointee.load(ordering: .acquiring) < count {
        guard pace.pause() else { continue }
        try check()
        try watch.check { lateRanks(count) }
      }
    }
  }

  private func lateRanks(_ count: UInt64) -> [Int] {
    ranks.indices.filter { arrivals[$0].pointee.load(ordering: .acquiring) < count }.map { ranks[$0] }
  }
}
