import Communication
import Synchronization

/// Ranks whose messages of an exchange are counted as they are sent; control operations are not.
final class CountingCommunicator: CommunicatorWrapper {
  let base: any Communicator
  private let counted = Mutex(ExchangeTraffic())

  init(_ base: any Communicator) {
    self.base = base
  }

  /// What this rank has sent.
  var traffic: ExchangeTraffic { counted.withLock { $0 } }

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

  func split(color: Int) throws -> any Communicator {
    CountingCommunicator(try base.split(color: color))
  }
}
