import CKernels
import Foundation
import Platform
import Synchronization

/// Threads that execute one piece of work at a time together with the calling thread.
///
/// A training step has hundreds of pieces of 20 µs to 1 ms, and waking a sleeping thread takes 30 µs: so a thread spins briefly
/// for the next piece before it sleeps.
final class ThreadTeam: Sendable {
  /// The number of threads, including the caller's.
  let threadCount: Int
  private let state: State
  private let threads: [SystemThread]

  /// A team of the calling thread alone.
  init() {
    threadCount = 1
    state = State(helperCount: 0)
    threads = []
  }

  /// Starts all threads except the caller's; each runs `prepare` first.
  ///
  /// Throws where the system refuses one.
  init(threadCount: Int, prepare: @escaping @Sendable () -> Void) throws(MilmError) {
    self.threadCount = threadCount
    let state = State(helperCount: threadCount - 1)
    self.state = state
    var threads: [SystemThread] = []
    do {
      for worker in 1..<max(1, threadCount) {
        threads.append(
          try SystemThread(name: "compute \(worker)") {
            prepare()
            state.serve(as: worker)
          })
      }
    } catch {
      state.end()
      for thread in threads { thread.join() }
      throw error
    }
    self.threads = threads
  }

  deinit {
    state.end()
    // The system counts a thread until it has ended.
    for thread in threads { thread.join() }
  }

  /// Calls `body` once on every thread with its index, 0 for the caller's, and waits for all.
  ///
  /// One call at a time: a second thread that calls waits for the first.
  func run(_ body: (Int) -> Void) {
    guard threadCount > 1 else { return body(0) }
    state.run(body)
  }
}

/// The shared state of a team.
///
/// `@unchecked Sendable`: `body` is written before `round` is incremented and read after the increment is seen; the caller
/// returns from `run` after all threads have finished.
private final class State: @unchecked Sendable {
  private let helperCount: Int
  private let callers = NSLock()
  private let sleep = NSCondition()
  private let round = Atomic<Int>(0)
  private let busyCount = Atomic<Int>(0)
  private let sleeperCount = Atomic<Int>(0)
  private let isEnding = Atomic<Bool>(false)
  private var body: ((Int) -> Void)?

  /// About 20 µs.
  private static let spinCount = 1_000

  init(helperCount: Int) { self.helperCount = helperCount }

  func run(_ body: (Int) -> Void) {
    callers.withLock {
      withoutActuallyEscaping(body) { body in
        self.body = body
        busyCount.store(helperCount, ordering: .relaxed)
        startRound()
        body(0)
        waitForHelpers()
        self.body = nil
      }
    }
  }

  func end() {
    isEnding.store(true, ordering: .sequentiallyConsistent)
    startRound()
  }

  func serve(as worker: Int) {
    var seen = 0
    while true {
      waitForRound(after: seen)
      seen += 1
      if isEnding.load(ordering: .acquiring) { return }
      work(as: worker)
      busyCount.subtract(1, ordering: .releasing)
    }
  }

  /// Not inlined, so that the reference to the caller's closure is released before the caller is notified.
  @inline(never)
  private func work(as worker: Int) {
    guard let body else { preconditionFailure("a round without work") }
    body(worker)
  }

  private func startRound() {
    // Both sides write their own atomic and then read the other, sequentially consistent: a helper about to sleep sees the new
    // round, or this thread sees the sleeper.
    round.add(1, ordering: .sequentiallyConsistent)
    guard sleeperCount.load(ordering: .sequentiallyConsistent) > 0 else { return }
    sleep.withLock { sleep.broadcast() }
  }

  private func waitForRound(after seen: Int) {
    for _ in 0..<Self.spinCount {
      if round.load(ordering: .acquiring) != seen { return }
      CKernels_pause()
    }
    sleep.withLock {
      sleeperCount.add(1, ordering: .sequentiallyConsistent)
      while round.load(ordering: .sequentiallyConsistent) == seen { sleep.wait() }
      sleeperCount.subtract(1, ordering: .sequentiallyConsistent)
    }
  }

  private func waitForHelpers() {
    var spinCount = 0
    while busyCount.load(ordering: .acquiring) > 0 {
      CKernels_pause()
      spinCount += 1
      // A helper may have been preempted by another process: yield this processor to it.
      if spinCount > Self.spinCount { sched_yield() }
    }
  }
}
