import CKernels
import Foundation

/// The only thread that talks to other ranks; runs jobs one at a time, in the order they were submitted.
///
/// Every rank must submit the same collective operations in the same order.
/// Denormal floats count as zero here.
public final class CommunicationThread: Sendable {
  private let jobs = JobQueue()

  /// Starts the thread.
  public init() {
    let jobs = jobs
    let thread = Thread {
      CKernels_flushDenormals()
      while let job = jobs.next() { job() }
    }
    thread.name = "communication"
    thread.start()
  }

  deinit {
    jobs.close()
  }

  /// Runs `job` after all jobs submitted before it, and returns at once.
  public func submit(_ job: @escaping @Sendable () -> Void) {
    jobs.append(job)
  }

  /// Runs `job` after all jobs submitted before it, waits for it, and gives what it returns or throws.
  ///
  /// Never call it from a job: it would wait for itself.
  public func run<Value: Sendable>(_ job: @escaping @Sendable () throws -> Value) throws -> Value {
    let answer = Answer<Value>()
    jobs.append { answer.fill(Result(catching: job)) }
    return try answer.wait().get()
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

/// One value that another thread will give.
///
/// `@unchecked Sendable`: written before the signal, read after the wait.
private final class Answer<Value: Sendable>: @unchecked Sendable {
  private let isFilled = DispatchSemaphore(value: 0)
  private var value: Result<Value, any Error>?

  func fill(_ value: Result<Value, any Error>) {
    self.value = value
    isFilled.signal()
  }

  func wait() -> Result<Value, any Error> {
    isFilled.wait()
    guard let value else { preconditionFailure("signalled without a value") }
    return value
  }
}
