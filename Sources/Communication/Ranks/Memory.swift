import Synchronization
import Tensors

/// Memory with a fixed address: a message in flight may point into it as long as this object lives.
///
/// Swift may release an object after its last mention, before its memory is last used: a local one needs
/// `withExtendedLifetime`.
///
/// `@unchecked Sendable`: its owner decides which thread uses which bytes.
final class AlignedBuffer: @unchecked Sendable {
  /// All of the memory, initially zero.
  let bytes: UnsafeMutableRawBufferPointer
  private let arena: Arena

  /// Memory in an arena that it keeps alive.
  init(byteCount: Int, in arena: Arena = Arena()) {
    self.arena = arena
    let memory = arena.vector(of: UInt8.self, count: max(byteCount, 1))
    bytes = UnsafeMutableRawBufferPointer(memory.buffer)
  }

  /// The memory from `offset` on.
  func bytes(from offset: Int, byteCount: Int) -> UnsafeMutableRawBufferPointer {
    UnsafeMutableRawBufferPointer(rebasing: bytes[offset..<offset + byteCount])
  }
}

/// Floats with a fixed address, initially zero.
package final class FloatBuffer: @unchecked Sendable {
  /// The first element.
  package let start: UnsafeMutablePointer<Float>
  let count: Int
  private let arena: Arena

  /// Floats in an arena that they keep alive.
  package init(count: Int, in arena: Arena = Arena()) {
    self.arena = arena
    start = arena.vector(of: Float.self, count: count).data
    self.count = count
  }

  /// All elements, to read.
  var values: UnsafeBufferPointer<Float> { UnsafeBufferPointer(start: start, count: count) }
  /// All elements as bytes, to send.
  var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(values) }
  /// All elements as bytes, to receive into.
  var mutableBytes: UnsafeMutableRawBufferPointer {
    UnsafeMutableRawBufferPointer(UnsafeMutableBufferPointer(start: start, count: count))
  }
}

/// Memory shared by the ranks of one node: a counter of arrivals and an area for each of them.
///
/// One thread of each rank uses it.
///
/// `@unchecked Sendable`: the counters are atomic; which rank may use which bytes changes only at `barrier`.
package final class SharedMemory: @unchecked Sendable {
  /// Bytes before an area: a cache line for the counter of its rank.
  static let headerByteCount = 64

  /// The ranks that share it, in ascending order.
  let ranks: [Int]
  /// An area for each rank, in their order.
  let areas: [UnsafeMutableRawBufferPointer]
  private let arrivals: [UnsafeMutablePointer<Atomic<UInt64>>]
  private let ownIndex: Int
  private var barrierCount: UInt64 = 0
  private let check: @Sendable () throws -> Void

  /// Memory of one piece per rank, `headerByteCount` and an area, all zero, which outlives this object.
  ///
  /// `check` is called while waiting, and throws to end it.
  init(
    ranks: [Int], rank: Int, pieces: [UnsafeMutableRawBufferPointer],
    check: @escaping @Sendable () throws -> Void = {}
  ) {
    guard let ownIndex = ranks.firstIndex(of: rank) else {
      preconditionFailure("rank \(rank) is not in \(ranks)")
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

  /// This rank's index among them.
  var localIndex: Int { ownIndex }

  /// Waits for all ranks of the node; what they wrote before is then visible.
  func barrier(_ watch: StallWatch) throws {
    barrierCount += 1
    let count = barrierCount
    arrivals[ownIndex].pointee.store(count, ordering: .releasing)
    var watch = watch
    defer { watch.end() }
    var pace = WaitPace()
    for arrival in arrivals {
      while arrival.pointee.load(ordering: .acquiring) < count {
        guard pace.pause() else { continue }
        try check()
        try watch.check { stragglers(count) }
      }
    }
  }

  private func stragglers(_ count: UInt64) -> [Int] {
    ranks.indices.filter { arrivals[$0].pointee.load(ordering: .acquiring) < count }.map { ranks[$0] }
  }
}
