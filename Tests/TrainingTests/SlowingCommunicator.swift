import Communication
import Foundation
import Synchronization

/// Ranks whose link becomes slow in the middle of a run: every exchange from a step on takes some time longer.
final class SlowingCommunicator: Communicator {
  private let base: any Communicator
  private let firstSlowStep: Int
  private let delaySeconds: Double
  /// What measures the link has no step: it is as slow as the last step was.
  private let isSlow = Atomic(false)

  /// Delays what goes through `base`.
  init(_ base: any Communicator, fromStep firstSlowStep: Int, delaySeconds: Double) {
    self.base = base
    self.firstSlowStep = firstSlowStep
    self.delaySeconds = delaySeconds
  }

  var rank: Int { base.rank }
  var rankCount: Int { base.rankCount }
  var hostNames: [String] { base.hostNames }
  var layout: NodeLayout { base.layout }
  var liveness: (any Liveness)? { base.liveness }

  func exchange(
    _ operation: CollectiveOperation, with peers: [Int], outgoing: [UnsafeRawBufferPointer],
    incoming: [UnsafeMutableRawBufferPointer], limits: StallLimits?
  ) throws -> [Int] {
    if operation.step >= firstSlowStep { isSlow.store(true, ordering: .relaxed) }
    if isSlow.load(ordering: .relaxed) { Thread.sleep(forTimeInterval: delaySeconds) }
    return try base.exchange(
      operation, with: peers, outgoing: outgoing, incoming: incoming, limits: limits)
  }

  func shareMemory(among ranks: [Int], byteCount: Int) throws -> SharedMemory {
    try base.shareMemory(among: ranks, byteCount: byteCount)
  }

  func broadcast(
    _ operation: CollectiveOperation, _ bytes: UnsafeMutableRawBufferPointer, from root: Int
  ) throws {
    try base.broadcast(operation, bytes, from: root)
  }

  func abort(_ message: String) {
    base.abort(message)
  }
}
