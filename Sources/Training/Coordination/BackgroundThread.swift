import Foundation
import Reporting

/// A thread that works beside training, one job at a time, and knows how long it has worked.
final class BackgroundThread: Sendable {
  private let jobs = BackgroundJobs()

  /// Starts the thread.
  init(name: String) {
    let thread = Thread { [jobs] in
      while let job = jobs.next() {
        job()
        jobs.noteEnd()
      }
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

  /// The next job, waited for; nil once there is none and never will be.
  func next() -> (@Sendable () -> Void)? {
    condition.withLock {
      while waiting.isEmpty && !isClosed { condition.wait() }
      guard !waiting.isEmpty else { return nil }
      begun = .now
      return waiting.removeFirst()
    }
  }

  func noteEnd() {
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
