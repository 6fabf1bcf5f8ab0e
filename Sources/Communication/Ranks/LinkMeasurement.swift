import Foundation
import Platform

/// Measured speed of a link between ranks.
package struct LinkMeasurement: Sendable, Equatable {
  /// Seconds of an exchange of a few bytes.
  package var latencySeconds: Double
  /// Bytes per second that a rank sends while it receives as many.
  package var bytesPerSecond: Double
  /// Core seconds per byte that is sent while another is received.
  package var coreSecondsPerByte: Double
  /// Seconds that each message takes beyond latency and bytes; 0 where the latency was measured with as many peers.
  package var secondsPerMessage: Double

  /// A measured or assumed link.
  package init(
    latencySeconds: Double, bytesPerSecond: Double, coreSecondsPerByte: Double = 0,
    secondsPerMessage: Double = 0
  ) {
    self.latencySeconds = latencySeconds
    self.bytesPerSecond = bytesPerSecond
    self.coreSecondsPerByte = coreSecondsPerByte
    self.secondsPerMessage = secondsPerMessage
  }
}

extension Communicator {
  /// Measures the link to the other `peers`, all of which call it at the same time with the same arguments.
  ///
  /// All send while they receive. Takes about `seconds`, more where five messages of a megabyte take longer.
  package func measureLink(with peers: [Int], seconds: Double) throws -> LinkMeasurement {
    let otherCount = max(peers.count - 1, 1)
    let probe = try LinkProbe(self, peers: peers, messageByteCount: (16 << 20) / max(otherCount, 2) & ~63)
    let latency = try (0..<20).map { _ in try probe.time(byteCount: 64) }.sorted()[10]
    var byteCount = min(1 << 20, probe.messageByteCount)
    var (rounds, coreStart): ([Double], Double) = ([], coreSeconds)
    // All decide by the slowest rank's times, so that all stop after the same round.
    while rounds.count < 5 || rounds.count < 16 && rounds.reduce(0, +) < seconds {
      let round = try probe.largestOfPeers(max(try probe.time(byteCount: byteCount) - latency, 1e-9))
      if rounds.isEmpty, round < seconds / 8, byteCount < probe.messageByteCount {
        byteCount = min(2 * byteCount, probe.messageByteCount)
        coreStart = coreSeconds
      } else {
        rounds.append(round)
      }
    }
    // The median excludes rounds that something else delayed.
    let sentByteCount = Double(byteCount * otherCount)
    return LinkMeasurement(
      latencySeconds: latency, bytesPerSecond: sentByteCount / rounds.sorted()[rounds.count / 2],
      coreSecondsPerByte: (coreSeconds - coreStart) / (sentByteCount * Double(rounds.count)))
  }
}

/// Times messages of any size between some ranks.
private struct LinkProbe {
  let messageByteCount: Int
  private let communicator: any Communicator
  private let peers: [Int]
  private let outgoing: AlignedBuffer
  private let incoming: AlignedBuffer

  init(_ communicator: any Communicator, peers: [Int], messageByteCount: Int) throws {
    self.communicator = communicator
    self.peers = peers
    self.messageByteCount = messageByteCount
    outgoing = AlignedBuffer(byteCount: messageByteCount)
    incoming = AlignedBuffer(byteCount: messageByteCount * peers.count)
  }

  /// Seconds of sending as many bytes to each other peer, and receiving them.
  func time(byteCount: Int) throws -> Double {
    let start = ContinuousClock.now
    _ = try exchange(byteCount: byteCount, operation.checkingItsBytes)
    return (ContinuousClock.now - start).inSeconds
  }

  /// All-reduce of the maximum over the peers.
  func largestOfPeers(_ value: Double) throws -> Double {
    outgoing.bytes.storeBytes(of: value.bitPattern, as: UInt64.self)
    let slots = try exchange(byteCount: 8, operation)
    return peers.indices.reduce(value) { largest, index in
      guard peers[index] != communicator.rank else { return largest }
      return max(largest, Double(bitPattern: slots[index].load(as: UInt64.self)))
    }
  }

  private var operation: MessageTag {
    MessageTag(name: "measuring the link", phase: .probe, step: 0, index: 0)
  }

  private func exchange(
    byteCount: Int, _ operation: MessageTag
  ) throws -> [UnsafeMutableRawBufferPointer] {
    defer { withExtendedLifetime((outgoing, incoming)) {} }
    let message = UnsafeRawBufferPointer(rebasing: outgoing.bytes[..<byteCount])
    let slots = peers.indices.map {
      incoming.bytes(from: $0 * messageByteCount, byteCount: messageByteCount)
    }
    _ = try communicator.exchange(
      operation, with: peers, outgoing: peers.map { _ in message }, incoming: slots, limits: nil)
    return slots
  }
}
