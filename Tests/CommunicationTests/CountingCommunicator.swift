import Communication
import Synchronization

/// Ranks whose messages of an exchange are counted as they are sent; control operations are not.
final class CountingCommunicator: Communicator {
  private let base: any Communicator
  private let counted = Mutex(ExchangeTraffic())

  init(_ base: any Communicator) {
    self.base = base
  }

  /// What this rank has sent.
  var traffic: ExchangeTraffic { counted.withLock { $0 } }

  var rank: Int { base.rank }
  var rankCount: Int { base.rankCount }
  var hostNames: [String] { base.hostNames }
  var jobRanks: [Int] { base.jobRanks }
  var layout: NodeLayout { base.layout }
  var liveness: (any Liveness)? { base.liveness }

  func exchange(
    _ operation: MessageTag, with peers: [Int], outgoing: [UnsafeRawBufferPointer],
    incoming: [UnsafeMutableRawBufferPointer], limits: StallLimits?
  ) throws -> [Int] {
    if operation.phase != .control {
      let sent = zip(peers, outgoing).filter { $0.0 != rank }.map(\.1.count)
      counted.withLock {
        $0 += ExchangeTraffic(
          roundCount: 1, messageCount: sent.count, byteCount: Double(sent.reduce(0, +)))
      }
    }
    return try base.exchange(
      operation, with: peers, outgoing: outgoing, incoming: incoming, limits: limits)
  }

  func shareMemory(among ranks: [Int], byteCount: Int) throws -> SharedMemory {
    try base.shareMemory(among: ranks, byteCount: byteCount)
  }

  func broadcast(
    _ operation: MessageTag, _ bytes: UnsafeMutableRawBufferPointer, from root: Int
  ) throws {
    try base.broadcast(operation, bytes, from: root)
  }

  func transportSum(_ values: UnsafeMutableBufferPointer<Float>) throws {
    try base.transportSum(values)
  }

  func split(color: Int) throws -> any Communicator {
    CountingCommunicator(try base.split(color: color))
  }

  func abort(_ message: String) {
    base.abort(message)
  }
}
