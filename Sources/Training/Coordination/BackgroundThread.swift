import Foundation
import Reporting

/// A thread that works beside training, one job at a time, and knows how long it has worked.
final class BackgroundThread: Sendable {
  /// The kernel's lowest priority: every other thread that wants the processor gets it at once.
  private static let lowestPriority: CInt = 19

  private let jobs = BackgroundJobs()

  /// Starts the thread; one that gives way, and all that it starts, leave the processor to any other that wants it.
  init(name: String, givesWay: Bool) {
    let thread = Thread { [jobs] in
      // On Linux this is about the calling thread alone.
      if givesWay { setpriority(__priority_which_t(PRIO_PROCESS.rawValue), 0, Self.lowestPriority) }
      while jobs.runNext() {}
    }
    thread.name = name
    thread.stackSize = 8 << 20
    thread.start()
  }

  deinit { jobs.close() }

  /// Runs `job` after all jobs given before it, and returns at once.
  func perform(_ job: @escaping @Sendable () -> Void) {
    jobs.append(job)
  }

  /// Waits for all jobs given so far.
  func waitUntilIdle() {
    _ = waitUntilIdle(orAfter: .infinity)
  }

  /// Waits for all jobs given so far, but no longer than until one of them has taken `seconds`; whether they are done.
  func waitUntilIdle(orAfter seconds: Double) -> Bool {
    jobs.waitUntilIdle(orAfter: seconds)
  }

  /// How long jobs have taken so far, the one under way included.
  var busySeconds: Double { jobs.busySeconds }
}

/// Jobs in order.
///
/// `@unchecked Sendable`: the condition's lock is held around every use of the fields.
private final class BackgroundJobs: @unchecked Sendable {
  private let condition = NSCondition()
  private var waiting: [@Sendable () -> Void] = []
  private var begun: ContinuousClock.Instant?
  private var doneSeconds = 0.0
  private var isClosed = false

  func append(_ job: @escaping @Sendable () -> Void) {
    condition.withLock {
      waiting.append(job)
      condition.broadcast()
    }
  }

  func close() {
    condition.withLock {
      isClosed = true
      condition.broadcast()
    }
  }

  /// Runs the next job, waited for; false once there is none and never will be.
  func runNext() -> Bool {
    var job = next()
    guard job != nil else { return false }
    job?()
    // What it holds, such as the run's lock, is let go of before anybody hears that it is done.
    job = nil
    noteEnd()
    return true
  }

  private func next() -> (@Sendable () -> Void)? {
    condition.withLock {
      while waiting.isEmpty && !isClosed { condition.wait() }
      guard !waiting.isEmpty else { return nil }
      begun = .now
      return waiting.removeFirst()
    }
  }

  private func noteEnd() {
    condition.withLock {
      doneSeconds += secondsUnderWay
      begun = nil
      condition.broadcast()
    }
  }

  func waitUntilIdle(orAfter seconds: Double) -> Bool {
    condition.withLock {
      while begun != nil || !waiting.isEmpty {
        let rest = seconds - secondsUnderWay
        guard rest > 0 else { return false }
        if rest.isFinite {
          _ = condition.wait(until: Date(timeIntervalSinceNow: rest))
        } else {
          condition.wait()
        }
      }
      return true
    }
  }

  var busySeconds: Double { condition.withLock { doneSeconds + secondsUnderWay } }

  /// Of the job under way; the lock is held.
  private var secondsUnderWay: Double { begun.map { (ContinuousClock.now - $0).inSeconds } ?? 0 }
}
