import Logging
import Synchronization

/// What may fail for want of disk: training goes on, the failure is loud and counted.
final class WriteAttempts: Sendable {
  private let logger: Logger
  private let count = Mutex(0)

  /// No failures so far.
  init(logger: Logger) {
    self.logger = logger
  }

  /// How many writes have failed.
  var failureCount: Int { count.withLock { $0 } }

  /// Runs `body`; where it throws, says so.
  func attempt(_ what: String, _ body: () throws -> Void) {
    do {
      try body()
    } catch {
      count.withLock { $0 += 1 }
      logger.error("could not \(what); training goes on", metadata: ["reason": "\(error)"])
    }
  }
}
