import CKernels
import Foundation

/// A thread that runs jobs one at a time, in the order they were submitted, and measures the time it has worked.
package final class JobThread: Sendable {
  private let jobs = JobQueue()

  /// Starts the thread; throws where the system refuses.
  ///
  /// - Parameters:
  ///   - flushesDenormals: denormal floats count as zero in its jobs.
  ///   - hasLowestPriority: it and all threads it starts run only on processors that nothing else wants.
  package init(
    name: String, flushesDenormals: Bool = false, hasLowestPriority: Bool = false
  ) throws(MilmError) {
    _ = try SystemThread(name: name) { [jobs] in
      if flushesDenormals { CKernels_flushDenormals() }
      // On Linux this affects the calling thread alone; 19 is the lowest priority.
      if hasLowestPriority { setpriority(__priority_which_t(PRIO_PROCESS.rawValue), 0, 19) }
      while jobs.runNext() {}
    }
  }

  deinit { jobs.close() }

  /// Runs `job` after all jobs submitted before it, and returns at once.
  package func submit(_ job: @escaping @Sendable () -> Void) {
    jobs.append(job)
  }

  /// Runs `job` after all jobs submitted before it, and returns at once with a promise of its result.
  package func start<Value: Sendable>(_ job: @escaping @Sendable () throws -> Value) -> Promise<Value> {
    let promise = Promise<Value>()
    jobs.append { promise.fulfill(Result(catching: job)) }
    return promise
  }

  /// Waits for all jobs submitted so far.
  package func waitUntilIdle() {
    _ = waitUntilIdle(timeoutSeconds: .infinity)
  }

  /// Waits for all jobs submitted so far, but gives up and returns false once one of them has run for
  /// `timeoutSeconds`.
  package func waitUntilIdle(timeoutSeconds: Double) -> Bool {
    jobs.waitUntilIdle(timeoutSeconds: timeoutSeconds)
  }

  /// How long jobs have run so far, including the current one.
  package var busySeconds: Double { jobs.busySeconds }
}

/// A value that another thread will provide.
///
/// `@unchecked Sendable`: written before the semaphore is signaled, read after waiting for it.
package final class Promise<Value: Sendable>: @unchecked Sendable {
  private let isFulfilled = DispatchSemaphore(value: 0)
  private var result: Result<Value, any Error>?

  fileprivate init() {}

  fileprivate func fulfill(_ result: Result<Value, any Error>) {
    self.result = result
    isFulfilled.signal()
  }

  /// Waits for the value and returns it, or throws what the job threw.
  package func value() throws -> Value {
    isFulfilled.wait()
    defer { isFulfilled.signal() }
    guard let result else { preconditionFailure("signaled without a value") }
    return try result.get()
  }
}

/// The jobs of one thread, in order.
///
/// `@unchecked Sendable`: the condition's lock is held around every use of the fields.
private final class JobQueue: @unchecked Sendable {
  private let condition = NSCondition()
  private var waiting: [@Sendable () -> Void] = []
  private var started: ContinuousClock.Instant?
  private var finishedSeconds = 0.0
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

  /// Waits for the next job and runs it; false if the queue is closed and empty.
  func runNext() -> Bool {
    var job = next()
    guard job != nil else { return false }
    job?()
    // What the job holds, such as the run's lock, is released before anyone learns that it is done.
    job = nil
    noteEnd()
    return true
  }

  private func next() -> (@Sendable () -> Void)? {
    condition.withLock {
      while waiting.isEmpty && !isClosed { condition.wait() }
      guard !waiting.isEmpty else { return nil }
      started = .now
      return waiting.removeFirst()
    }
  }

  private func noteEnd() {
    condition.withLock {
      finishedSeconds += currentSeconds
      started = nil
      condition.broadcast()
    }
  }

  func waitUntilIdle(timeoutSeconds: Double) -> Bool {
    condition.withLock {
      while started != nil || !waiting.isEmpty {
        let rest = timeoutSeconds - currentSeconds
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

  var busySeconds: Double { condition.withLock { finishedSeconds + currentSeconds } }

  /// Seconds of the current job; the lock is held.
  private var currentSeconds: Double { started.map { (ContinuousClock.now - $0).inSeconds } ?? 0 }
}
