import CKernels
import Foundation

/// A thread of the operating system: the only place that starts one, so that a refusal is always noticed.
///
/// The system refuses where a limit on processes (`ulimit -u`, that of a container) or on memory is reached. Foundation and
/// Dispatch ignore that, or wait for it to change, and what the thread was to do never happens.
///
/// `@unchecked Sendable`: `isJoined` is used by the owner alone.
package final class SystemThread: @unchecked Sendable {
  private let handle: pthread_t
  private var isJoined = false

  /// The argument of the thread, owned until it runs.
  private final class Start {
    let name: String
    let body: @Sendable () -> Void

    init(name: String, body: @escaping @Sendable () -> Void) {
      self.name = name
      self.body = body
    }
  }

  /// Starts a thread that runs `body`; without `join` it ends by itself.
  ///
  /// It has the priority of the calling thread. Throws the system's reason where no thread can be started.
  package init(
    name: String, stackByteCount: Int = 8 << 20, _ body: @escaping @Sendable () -> Void
  ) throws(MilmError) {
    var attributes = pthread_attr_t()
    pthread_attr_init(&attributes)
    defer { pthread_attr_destroy(&attributes) }
    pthread_attr_setstacksize(&attributes, stackByteCount)
    let start = Unmanaged.passRetained(Start(name: name, body: body))
    var handle = pthread_t()
    let code = pthread_create(
      &handle, &attributes,
      { pointer in
        guard let pointer else { return nil }
        SystemThread.run(Unmanaged<Start>.fromOpaque(pointer).takeRetainedValue())
        return nil
      }, start.toOpaque())
    guard code == 0 else {
      start.release()
      // Too little memory for its stack is the same error as too many threads.
      let limit = ProcessLimits.narrowest(threadCount: 0)
      let cause = limit.flatMap { $0.availableByteCount == 0 ? "; \($0.description) is used up" : nil }
      throw MilmError("cannot start a thread: \(String(cString: strerror(code))) (\(name))\(cause ?? "")")
    }
    self.handle = handle
  }

  deinit {
    if !isJoined { pthread_detach(handle) }
  }

  /// Waits for the thread's end, once; another thread calls it.
  package func join() {
    isJoined = true
    pthread_join(handle, nil)
  }

  private static func run(_ start: Start) {
    // The kernel takes 15 bytes of a name.
    CKernels_nameThread(String(start.name.prefix(15)))
    start.body()
  }

  /// Throws unless `count` more threads can be started, for libraries that do not check.
  package static func require(_ count: Int, for name: String) throws(MilmError) {
    try runConcurrently(count: count + 1, name: name) { _ in }
  }

  /// Calls `body` with 0 to `count` - 1 at the same time, each on a thread, 0 on the calling one, and waits for all.
  ///
  /// Where a thread cannot be started, none calls `body`, and the error is thrown.
  package static func runConcurrently(
    count: Int, name: String, _ body: @Sendable (Int) -> Void
  ) throws(MilmError) {
    let gate = StartGate()
    var failure: MilmError?
    withoutActuallyEscaping(body) { body in
      var threads: [SystemThread] = []
      do throws(MilmError) {
        for index in 1..<max(count, 1) {
          threads.append(
            try SystemThread(name: "\(name) \(index)") { if gate.wait() { body(index) } })
        }
      } catch {
        failure = error
      }
      gate.open(failure == nil)
      if failure == nil, count > 0 { body(0) }
      for thread in threads { thread.join() }
    }
    if let failure { throw failure }
  }
}

/// Holds threads until all of them have started.
///
/// `@unchecked Sendable`: the condition's lock is held around every use of the field.
private final class StartGate: @unchecked Sendable {
  private let condition = NSCondition()
  private var mayProceed: Bool?

  /// Whether to proceed; waits until it is known.
  func wait() -> Bool {
    condition.withLock {
      while true {
        if let mayProceed { return mayProceed }
        condition.wait()
      }
    }
  }

  func open(_ mayProceed: Bool) {
    condition.withLock {
      self.mayProceed = mayProceed
      condition.broadcast()
    }
  }
}

/// A watchdog timer: unless it is ended in time, it calls back on a thread of its own.
package final class Timeout: Sendable {
  private let isOver = DispatchSemaphore(value: 0)

  /// Starts the timeout; `body` is called after `seconds`, at most once.
  package init(seconds: Double, name: String, _ body: @escaping @Sendable () -> Void) throws(MilmError) {
    _ = try SystemThread(name: name) { [isOver] in
      if isOver.wait(timeout: .now() + seconds) == .timedOut { body() }
    }
  }

  /// Stops the countdown: the event has happened.
  package func end() {
    isOver.signal()
  }
}
