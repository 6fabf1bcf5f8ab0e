import Platform

/// The only thread that communicates with other ranks; runs jobs one at a time, in the order they were submitted.
///
/// Every rank must submit the same collective operations in the same order. Denormal floats count as zero in jobs.
package final class CommunicationThread: Sendable {
  private let thread = JobThread(name: "communication", flushesDenormals: true)

  package init() {}

  /// Runs `job` after all jobs submitted before it, and returns at once.
  package func submit(_ job: @escaping @Sendable () -> Void) {
    thread.submit(job)
  }

  /// Runs `job` after all jobs submitted before it, waits for it, and returns its value or throws its error.
  ///
  /// Must not be called from a job: it would wait for itself.
  package func run<Value: Sendable>(_ job: @escaping @Sendable () throws -> Value) throws -> Value {
    try thread.start(job).value()
  }
}
