import Foundation
import Platform
import Synchronization

/// A thread that sends this rank's activity to all other ranks once a second, and receives theirs.
///
/// A stopped process sends no heartbeat; one that waits for a disk does. So no limit has to guess how long a disk takes.
///
/// `@unchecked Sendable`: after `start` only the thread uses the messages; what it received is behind a lock.
final class Heartbeat: Liveness, @unchecked Sendable {
  private static let messageByteCount = 256
  private static let intervalMicroseconds: useconds_t = 250_000
  private static let roundsPerBeat = 4
  /// The first character of an activity that is expected to last, and of any other.
  private static let (lastingMark, otherMark): (Character, Character) = ("+", "-")
  /// A gap between two rounds beyond which this process was stopped itself.
  private static let ownStopSeconds = 2.0

  let activity: RankActivity
  private let messages: MPIMessages
  private let peers: [Int]
  private let received: Mutex<Received>
  private let isStopped = Atomic(false)
  private let hasEnded = DispatchSemaphore(value: 0)

  private struct Received {
    var times: [ContinuousClock.Instant]
    var states: [String]
    var isExpectedToLast: [Bool]
    var limits: StallLimits
    var startTimeoutSeconds: Double
  }

  /// A heartbeat over a group that carries nothing else.
  init(_ group: MPIGroup, activity: RankActivity, limits: StallLimits, startTimeoutSeconds: Double) {
    self.activity = activity
    messages = MPIMessages(group, byteCount: Self.messageByteCount)
    peers = (0..<group.rankCount).filter { $0 != group.rank }
    received = Mutex(
      Received(
        times: Array(repeating: .now, count: group.rankCount),
        states: Array(repeating: "the start", count: group.rankCount),
        isExpectedToLast: Array(repeating: false, count: group.rankCount), limits: limits,
        startTimeoutSeconds: startTimeoutSeconds))
  }

  func secondsSinceHeartbeat(of rank: Int) -> Double {
    received.withLock { (ContinuousClock.now - $0.times[rank]).inSeconds }
  }

  func lastState(of rank: Int) -> String { received.withLock { $0.states[rank] } }

  func isExpectedToLast(_ rank: Int) -> Bool { received.withLock { $0.isExpectedToLast[rank] } }

  var heartbeatLimits: StallLimits { received.withLock { $0.limits } }

  func setHeartbeatLimits(_ limits: StallLimits) {
    received.withLock { $0.limits = limits }
  }

  var startTimeoutSeconds: Double { received.withLock { $0.startTimeoutSeconds } }

  func endStartTimeout() {
    received.withLock { $0.startTimeoutSeconds = .infinity }
  }

  private static func message(_ record: RankActivity.Record) -> String {
    "\(record.isExpectedToLast ? lastingMark : otherMark)\(record)"
  }

  /// Starts the thread; throws where the system refuses.
  func start() throws {
    guard !peers.isEmpty else { return }
    _ = try SystemThread(name: "heartbeat") { [self] in
      for peer in peers { messages.postReceive(from: peer) }
      var round = 0
      var lastRound = ContinuousClock.now
      while !isStopped.load(ordering: .acquiring) {
        discountOwnSuspension(since: &lastRound)
        for peer in peers {
          if let text = messages.received(from: peer) {
            received.withLock {
              ($0.times[peer], $0.states[peer]) = (.now, String(text.dropFirst()))
              $0.isExpectedToLast[peer] = text.first == Self.lastingMark
            }
          }
          if round % Self.roundsPerBeat == 0 { messages.send(Self.message(activity.current), to: peer) }
        }
        round += 1
        usleep(Self.intervalMicroseconds)
      }
      for peer in peers { messages.cancelReceive(from: peer) }
      hasEnded.signal()
    }
  }

  /// Ends the thread; before MPI ends.
  func stop() {
    guard !peers.isEmpty, !isStopped.exchange(true, ordering: .acquiringAndReleasing) else { return }
    hasEnded.wait()
  }

  /// While this process itself was stopped, it could not receive heartbeats.
  private func discountOwnSuspension(since lastRound: inout ContinuousClock.Instant) {
    let gap = ContinuousClock.now - lastRound
    if gap > .seconds(Self.ownStopSeconds) {
      received.withLock { received in
        for rank in received.times.indices { received.times[rank] += gap }
      }
    }
    lastRound = .now
  }
}
