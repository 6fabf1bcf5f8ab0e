import Platform

/// The only thread that talks to other ranks; runs jobs one at a time, in the order they were submitted.
///
/// Every rank must submit the same collective operations in the same order.
/// Denormal floats count as zero here.
public final class CommunicationThread: Sendable {
  private let thread = JobThread(name: "communication", flushesDenormals: true)

  /// Starts the thread.
  public init() {}

  /// Runs `job` after all jobs submitted before it, and returns at once.
  public func submit(_ job: @escaping @Sendable () -> Void) {
    thread.submit(job)
  }

  /// Runs `job` after all jobs submitted before it, waits for it, and gives what it returns or throws.
  ///
  /// Never call it from a job: it would wait for itself.
  public func run<Value: Sendable>(_ job: @escaping @Sendable () throws -> Value) throws -> Value {
    try thread.start(job).value()
  }
}
