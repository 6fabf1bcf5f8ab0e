import Communication
import Foundation
import Synchronization

/// Runs `body` on each rank of a job in this process, on a thread of its own, and returns the results by rank.
///
/// The first error ends all ranks and is thrown.
package func onLocalRanks<Value: Sendable>(
  _ rankCount: Int, ranksPerNode: Int = 1, fault: ReceptionFault? = nil,
  _ body: @escaping @Sendable (LocalCommunicator, CommunicationThread) throws -> Value
) throws -> [Value] {
  let world = LocalCommunicator.world(rankCount: rankCount, ranksPerNode: ranksPerNode, fault: fault)
  return try onThreads(over: [world]) { try body(world[$0], try CommunicationThread()) }
}

/// The same with the communicators of training.
package func onLocalJob<Value: Sendable>(
  _ rankCount: Int, ranksPerNode: Int = 1, _ body: @escaping @Sendable (Ranks) throws -> Value
) throws -> [Value] {
  let worlds = (0..<3).map { _ in
    LocalCommunicator.world(rankCount: rankCount, ranksPerNode: ranksPerNode)
  }
  return try onThreads(over: worlds) {
    try body(Ranks(control: worlds[0][$0], gradients: worlds[1][$0], snapshots: worlds[2][$0]))
  }
}

private func onThreads<Value: Sendable>(
  over worlds: [[LocalCommunicator]], _ body: @escaping @Sendable (_ rank: Int) throws -> Value
) throws -> [Value] {
  let results = Mutex<[Int: Value]>([:])
  let firstError = Mutex<(any Error)?>(nil)
  let group = DispatchGroup()
  for rank in worlds[0].indices {
    group.enter()
    Thread {
      do {
        let value = try body(rank)
        results.withLock { $0[rank] = value }
      } catch {
        firstError.withLock { $0 = $0 ?? error }
        for world in worlds { world[rank].abort("\(error)") }
      }
      group.leave()
    }.start()
  }
  group.wait()
  if let error = firstError.withLock({ $0 }) { throw error }
  return results.withLock { results in worlds[0].indices.compactMap { results[$0] } }
}
