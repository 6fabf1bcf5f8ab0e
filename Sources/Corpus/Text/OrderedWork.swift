import Foundation

/// One thread's part in work on a stream of blocks; it holds one block at a time.
///
/// A worker is used by one thread at a time, which is what makes it `Sendable`.
protocol OrderedWorker: AnyObject, Sendable {
  /// Takes the next block, one worker at a time; false at the end of the stream.
  func take() throws -> Bool
  /// Works on the block, at the same time as other workers on theirs.
  func work()
  /// Hands on what came of the block, in the order in which the blocks were taken, one at a time.
  func deliver() throws
}

/// Lets several threads take blocks from a stream and work on them, and keeps the order where it matters.
///
/// `@unchecked Sendable`: `takenCount` is touched only under `taking`, all else that changes only under
/// `delivering`.
final class OrderedWork: @unchecked Sendable {
  private let taking = NSLock()
  private var takenCount = 0
  private let delivering = NSCondition()
  private var deliveredCount = 0
  private var failure: (index: Int, error: any Error)?

  /// Works until the stream is at its end, with a thread for each worker.
  ///
  /// - Throws: the error of the earliest block, whichever thread met it first; what lies behind it may have
  ///   been taken, but was not delivered.
  static func run(_ workers: [some OrderedWorker]) throws {
    let work = OrderedWork()
    DispatchQueue.concurrentPerform(iterations: workers.count) { work.drive(workers[$0]) }
    if let failure = work.failure { throw failure.error }
  }

  private func drive(_ worker: some OrderedWorker) {
    while let index = take(worker) {
      worker.work()
      guard deliver(index, worker) else { return }
    }
  }

  /// The number of the block that the worker got; nil at the end, or when there is no use in going on.
  private func take(_ worker: some OrderedWorker) -> Int? {
    taking.withLock {
      if delivering.withLock({ failure != nil }) { return nil }
      do {
        guard try worker.take() else { return nil }
        takenCount += 1
        return takenCount - 1
      } catch {
        fail(at: takenCount, error)
        return nil
      }
    }
  }

  /// Waits until all earlier blocks are delivered; they are held by threads that came first, so none waits
  /// for ever.
  private func deliver(_ index: Int, _ worker: some OrderedWorker) -> Bool {
    delivering.withLock {
      // An error further back does not keep an earlier one from being found.
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
