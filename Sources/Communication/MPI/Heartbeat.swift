import CMPI
import Foundation
import Platform
import Synchronization

/// A thread that tells all other ranks once a second what this one does, and hears it of them.
///
/// A stopped process is silent; one that waits for a disk is not: so nobody need guess how long a disk may take.
///
/// `@unchecked Sendable`: after `start` only the thread touches requests and letters;
/// what it heard is behind a lock.
final class Heartbeat: Liveness, @unchecked Sendable {
  private static let letterByteCount = 256
  private static let intervalMicroseconds: useconds_t = 250_000
  private static let roundsPerBeat = 4

  let activity: RankActivity
  private let calls: MPICalls
  private let communicator: MPI_Comm?
  private let rank: Int
  private let rankCount: Int
  /// Sends at 0..<rankCount, receives at rankCount..<2 · rankCount.
  private let requests: UnsafeMutableBufferPointer<MPI_Request?>
  private let letters: AlignedBuffer
  private let heard: Mutex<Heard>
  private let isStopped = Atomic(false)
  private let hasEnded = DispatchSemaphore(value: 0)

  private struct Heard {
    var times: [ContinuousClock.Instant]
    var states: [String]
    var limits: StallLimits
    var patienceSeconds: Double
  }

  /// A heartbeat over a communicator of its own.
  init(
    _ calls: MPICalls, _ communicator: MPI_Comm?, rank: Int, rankCount: Int, activity: RankActivity,
    limits: StallLimits, patienceSeconds: Double
  ) {
    self.calls = calls
    self.communicator = communicator
    self.rank = rank
    self.rankCount = rankCount
    self.activity = activity
    requests = .allocate(capacity: 2 * rankCount)
    requests.initialize(repeating: CMPI_requestNull())
    letters = AlignedBuffer(byteCount: 2 * rankCount * Self.letterByteCount)
    heard = Mutex(
      Heard(
        times: Array(repeating: .now, count: rankCount),
        states: Array(repeating: "the start", count: rankCount), limits: limits,
        patienceSeconds: patienceSeconds))
  }

  deinit {
    requests.deallocate()
  }

  func silentSeconds(of rank: Int) -> Double {
    heard.withLock { (ContinuousClock.now - $0.times[rank]).inSeconds }
  }

  func lastState(of rank: Int) -> String { heard.withLock { $0.states[rank] } }

  var silenceLimits: StallLimits { heard.withLock { $0.limits } }

  func limitSilence(_ limits: StallLimits) {
    heard.withLock { $0.limits = limits }
  }

  var patienceSeconds: Double { heard.withLock { $0.patienceSeconds } }

  func liftStartLimit() {
    heard.withLock { $0.patienceSeconds = .infinity }
  }

  /// Begins to send and to listen.
  func start() {
    guard rankCount > 1 else { return }
    let thread = Thread { [self] in
      for peer in 0..<rankCount where peer != rank { listen(to: peer) }
      var round = 0
      var lastRound = ContinuousClock.now
      while !isStopped.load(ordering: .acquiring) {
        forgiveOwnStop(since: &lastRound)
        for peer in 0..<rankCount where peer != rank {
          hear(peer)
          if round % Self.roundsPerBeat == 0 { send(to: peer) }
        }
        round += 1
        usleep(Self.intervalMicroseconds)
      }
      for peer in 0..<rankCount where peer != rank { stopListening(to: peer) }
      hasEnded.signal()
    }
    thread.name = "heartbeat"
    thread.start()
  }

  /// Ends the thread; before MPI ends.
  func stop() {
    guard rankCount > 1, !isStopped.exchange(true, ordering: .acquiringAndReleasing) else { return }
    hasEnded.wait()
  }

  /// Where this process itself was stopped, the silence of others in that time proves nothing.
  private func forgiveOwnStop(since lastRound: inout ContinuousClock.Instant) {
    let gap = ContinuousClock.now - lastRound
    if gap > .seconds(2) {
      heard.withLock { heard in
        for peer in heard.times.indices { heard.times[peer] += gap }
      }
    }
    lastRound = .now
  }

  private func letter(_ index: Int) -> UnsafeMutableRawBufferPointer {
    letters.slice(from: index * Self.letterByteCount, byteCount: Self.letterByteCount)
  }

  /// A beat that fails is one that is missed: whoever waits finds out.
  private func send(to peer: Int) {
    guard isDone(peer) else { return }
    let letter = letter(peer)
    letter.initializeMemory(as: UInt8.self, repeating: 0)
    letter.copyBytes(from: "\(activity.current)".utf8.prefix(Self.letterByteCount - 1))
    _ = calls.status {
      MPI_Isend(
        letter.baseAddress, CInt(letter.count), CMPI_byte(), CInt(peer), 0, communicator, &requests[peer])
    }
  }

  private func listen(to peer: Int) {
    let letter = letter(rankCount + peer)
    _ = calls.status {
      MPI_Irecv(
        letter.baseAddress, CInt(letter.count), CMPI_byte(), CInt(peer), 0, communicator,
        &requests[rankCount + peer])
    }
  }

  private func hear(_ peer: Int) {
    guard requests[rankCount + peer] != CMPI_requestNull(), isDone(rankCount + peer) else { return }
    let text = String(decoding: letter(rankCount + peer).prefix { $0 != 0 }, as: UTF8.self)
    heard.withLock { ($0.times[peer], $0.states[peer]) = (.now, text) }
    listen(to: peer)
  }

  private func stopListening(to peer: Int) {
    guard requests[rankCount + peer] != CMPI_requestNull() else { return }
    _ = calls.status { MPI_Cancel(&requests[rankCount + peer]) }
    _ = calls.status { MPI_Request_free(&requests[rankCount + peer]) }
  }

  private func isDone(_ index: Int) -> Bool {
    var isDone: CInt = 0
    let status = calls.status { MPI_Test(&requests[index], &isDone, CMPI_statusIgnore()) }
    return status == MPI_SUCCESS && isDone != 0
  }
}
