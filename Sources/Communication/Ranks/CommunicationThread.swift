import CKernels
import Foundation

/// The only thread that talks to other ranks; runs jobs one at a time, in the order they were submitted.
///
/// Every rank must submit the same collective operations in the same order.
/// Denormal floats count as zero here.
package final class CommunicationThread: Sendable {
  private let thread = SerialThread(name: "communication")

  /// Starts the thread.
  package init() {}

  /// Runs `job` after all jobs submitted before it, and returns at once.
  package func submit(_ job: @escaping @Sendable () -> Void) {
    thread.submit(job)
  }

  /// Runs `job` after all jobs submitted before it, waits for it, and gives what it returns or throws.
  ///
  /// Never call it from a job: it would wait for itself.
  package func run<Value: Sendable>(_ job: @escaping @Sendable () throws -> Value) throws -> Value {
    try thread.start(job).value()
  }
}

/// A thread that runs jobs one at a time, in the order they were submitted.
///
/// Denormal floats count as zero there.
final class SerialThread: Sendable {
  private let jobs = JobQueue()

  /// Starts the thread.
  init(name: String) {
    let jobs = jobs
    let thread = Thread {
      CKernels_flushDenormals()
      while let job = jobs.next() { job() }
    }
    thread.name = name
    thread.start()
  }

  deinit {
    jobs.close()
  }

  /// Runs `job` after all jobs submitted before it, and returns at once.
  func submit(_ job: @escaping @Sendable () -> Void) {
    jobs.append(job)
  }

  /// Runs `job` after all jobs submitted before it, and returns at once with where its value will be.
  func start<Value: Sendable>(_ job: @escaping @Sendable () throws -> Value) -> Answer<Value> {
    let answer = Answer<Value>()
    jobs.append { answer.fill(Result(catching: job)) }
    return answer
  }
}

/// Jobs in order, handed from the threads that submit to the one that runs.
///
/// `@unchecked Sendable`: the condition's lock is held around every use of the array.
private final class JobQueue: @unchecked Sendable {
  private let condition = NSCondition()
  private var waiting: [@Sendable () -> Void] = []
  private var isClosed = false

  func append(_ job: @escaping @Sendable () -> Void) {
    condition.withLock {
      waiting.append(job)
      condition.signal()
    }
  }

  /// The next job, waited for; nil once the queue is closed and empty.
  func next() -> (@Sendable () -> Void)? {
    condition.withLock {
      while waiting.isEmpty && !isClosed { condition.wait() }
      return waiting.isEmpty ? nil : waiting.removeFirst()
    }
  }

  func close() {
    condition.withLock {
      isClosed = true
      condition.signal()
    }
  }
}

/// One value that another thread will give, to one that waits for it once.
///
/// `@unchecked Sendable`: written before the signal, read after the wait.
final class Answer<Value: Sendable>: @unchecked Sendable {
  private let isFilled = DispatchSemaphore(value: 0)
  private var result: Result<Value, any Error>?

  fileprivate func fill(_ result: Result<Value, any Error>) {
    self.result = result
    isFilled.signal()
  }

  /// Waits for the value, and gives it or throws what the job has thrown.
  func value() throws -> Value {
    isFilled.wait()
    guard let result else { preconditionFailure("signalled without a value") }
    return try result.get()
  }
}

/// The processor time of this thread in seconds: time taken by other threads does not count.
var coreSeconds: Double {
  var time = timespec()
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
  return Double(time.tv_sec) + 1e-9 * Double(time.tv_nsec)
}
