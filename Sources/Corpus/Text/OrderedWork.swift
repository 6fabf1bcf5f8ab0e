import Foundation
import Platform

/// One thread's worker on a stream of blocks; it holds one block at a time.
///
/// `Sendable` because it is used by one thread at a time.
protocol OrderedWorker: AnyObject, Sendable {
  /// Reads the next block, one worker at a time; false at the end of the stream.
  func next() throws -> Bool
  /// Processes the block, concurrently with other workers.
  func work()
  /// Delivers the result, one worker at a time, in the order in which the blocks were read.
  func deliver() throws
}

/// Processes a stream of blocks with several threads, in order where the order matters.
///
/// `@unchecked Sendable`: `readCount` is guarded by `reading`, all other mutable fields by `delivering`.
final class OrderedWork: @unchecked Sendable {
  private let reading = NSLock()
  private var readCount = 0
  private let delivering = NSCondition()
  private var deliveredCount = 0
  private var failure: (index: Int, error: any Error)?

  /// Runs to the end of the stream, with one thread per worker.
  ///
  /// - Throws: where a thread cannot be started; the error of the earliest failed block. Later blocks may have been read,
  ///   but are not delivered.
  static func run(_ workers: [some OrderedWorker]) throws {
    let work = OrderedWork()
    try SystemThread.runConcurrently(count: workers.count, name: "corpus") { work.drive(workers[$0]) }
    if let failure = work.failure { throw failure.error }
  }

  private func drive(_ worker: some OrderedWorker) {
    while let index = next(for: worker) {
      worker.work()
      guard deliver(index, worker) else { return }
    }
  }

  /// The index of the block that the worker has read, nil at the end or after a failure.
  private func next(for worker: some OrderedWorker) -> Int? {
    reading.withLock {
      if delivering.withLock({ failure != nil }) { return nil }
      do {
        guard try worker.next() else { return nil }
        readCount += 1
        return readCount - 1
      } catch {
        fail(at: readCount, error)
        return nil
      }
    }
  }

  /// Waits until all earlier blocks are delivered, which running threads hold, so none waits forever.
  private func deliver(_ index: Int, _ worker: some OrderedWorker) -> Bool {
    delivering.withLock {
      // A failure of a later block does not stop earlier blocks, which may fail too.
      while deliveredCount != index && index < failure?.index ?? .max { delivering.wait() }
      guard index < failure?.index ?? .max else { return false }
      do {
        try worker.deliver()
        deliveredCount += 1
      } catch {
        failure = (index, error)
      }
      delivering.broadcast()
      return failure == nil
    }
  }

  private func fail(at index: Int, _ error: any Error) {
    delivering.withLock {
      if let failure, failure.index <= index { return }
      failure = (index, error)
      delivering.broadcast()
    }
  }
}
