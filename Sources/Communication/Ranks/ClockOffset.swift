import Foundation
import Platform

/// The offset of rank 0's clock from this rank's.
package struct ClockOffset: Sendable, Equatable {
  /// Nanoseconds to add to a time of this rank's clock to get rank 0's.
  package let nanoseconds: Int
  /// Error bound in nanoseconds.
  package let errorNanoseconds: Int

  /// An offset with an error bound.
  package init(nanoseconds: Int, errorNanoseconds: Int) {
    self.nanoseconds = nanoseconds
    self.errorNanoseconds = errorNanoseconds
  }

  /// Number of round trips; the fastest one has the smallest error.
  private static let roundCount = 20

  /// Measures the clock of every rank that shares no memory with rank 0; all ranks call it between steps.
  ///
  /// `now` reads this rank's clock in nanoseconds. Ranks that share memory share a clock.
  package static func measure(over communicator: any Communicator, now: () -> Int) throws -> ClockOffset {
    var own = ClockOffset(nanoseconds: 0, errorNanoseconds: 0)
    try communicator.barrier("compare clocks")
    let nodes = communicator.layout.nodeOfRank
    for other in 0..<communicator.rankCount where nodes[other] != nodes[0] {
      if communicator.rank == 0 {
        let measured = try exchangeTimestamps(with: other, over: communicator, now: now)
        _ = try send([measured.nanoseconds, measured.errorNanoseconds], to: other, over: communicator)
      } else if communicator.rank == other {
        for _ in 0..<roundCount {
          _ = try send([0, 0], to: 0, over: communicator)
          _ = try send([now(), 0], to: 0, over: communicator)
        }
        let measured = try send([0, 0], to: 0, over: communicator)
        own = ClockOffset(nanoseconds: measured[0], errorNanoseconds: measured[1])
      }
    }
    try communicator.barrier("clocks compared")
    return own
  }

  /// The other rank reads its clock after a message from this one and before its reply: its time lies between the two
  /// times here, most likely in the middle.
  private static func exchangeTimestamps(with other: Int, over communicator: any Communicator, now: () -> Int)
    throws -> ClockOffset
  {
    let samples = try (0..<roundCount).map { _ in
      let sent = now()
      _ = try send([0, 0], to: other, over: communicator)
      let remote = try send([0, 0], to: other, over: communicator)[0]
      let received = now()
      return ClockOffset(
        nanoseconds: sent + (received - sent) / 2 - remote, errorNanoseconds: (received - sent + 1) / 2)
    }
    return samples.min { $0.errorNanoseconds < $1.errorNanoseconds } ?? samples[0]
  }

  /// Exchanges two numbers with a rank.
  private static func send(_ values: [Int], to other: Int, over communicator: any Communicator) throws
    -> [Int]
  {
    let byteCount = 8 * values.count
    let memory = UnsafeMutableRawBufferPointer.allocated(byteCount: 2 * byteCount)
    defer { free(memory.baseAddress) }
    let outgoing = UnsafeMutableRawBufferPointer(rebasing: memory[..<byteCount])
    let incoming = UnsafeMutableRawBufferPointer(rebasing: memory[byteCount...])
    incoming.initializeMemory(as: UInt8.self, repeating: 0)
    for (index, value) in values.enumerated() {
      outgoing.storeBytes(of: Int64(value).littleEndian, toByteOffset: 8 * index, as: Int64.self)
    }
    let peers = [communicator.rank, other].sorted()
    _ = try communicator.exchange(
      .control("compare clocks"), with: peers,
      outgoing: Array(repeating: UnsafeRawBufferPointer(outgoing), count: 2),
      incoming: Array(repeating: incoming, count: 2), limits: nil)
    return values.indices.map {
      Int(Int64(littleEndian: incoming.load(fromByteOffset: 8 * $0, as: Int64.self)))
    }
  }
}
