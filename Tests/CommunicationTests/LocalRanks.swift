import Communication
import Foundation
import Synchronization

/// Runs `body` on each rank, on a thread of its own, and returns the results by rank.
///
/// The first error ends all ranks and is thrown.
func onLocalRanks<Value: Sendable>(
  _ rankCount: Int, ranksPerNode: Int = 1, fault: ReceptionFault? = nil,
  _ body: @escaping @Sendable (LocalCommunicator, CommunicationThread) throws -> Value
) throws -> [Value] {
  let results = Mutex<[Int: Result<Value, any Error>]>([:])
  let firstError = Mutex<(any Error)?>(nil)
  let group = DispatchGroup()
  for communicator in LocalCommunicator.world(
    rankCount: rankCount, ranksPerNode: ranksPerNode, fault: fault)
  {
    group.enter()
    Thread {
      let result = Result { try body(communicator, CommunicationThread()) }
      if case .failure(let error) = result {
        firstError.withLock { $0 = $0 ?? error }
        communicator.abort("\(error)")
      }
      results.withLock { $0[communicator.rank] = result }
      group.leave()
    }.start()
  }
  group.wait()
  if let error = firstError.withLock({ $0 }) { throw error }
  return try results.withLock { results in try (0..<rankCount).compactMap { try results[$0]?.get() } }
}

/// A made-up number between −1 and 1, a pure function of its arguments.
func noise(_ seed: Int, _ index: Int) -> Float {
  var bits = (UInt64(bitPattern: Int64(seed)) &+ 1) &* 0x9E37_79B9_7F4A_7C15 ^ UInt64(index)
  bits = (bits ^ (bits >> 30)) &* 0xBF58_476D_1CE4_E5B9
  bits = (bits ^ (bits >> 27)) &* 0x94D0_49BB_1331_11EB
  return Float(Int64(bitPattern: bits ^ (bits >> 31)) >> 40) / Float(1 << 23)
}

/// Numbers like a gradient's: rows of 32 whose sizes differ by five orders of magnitude.
func gradient(seed: Int, count: Int) -> [Float] {
  (0..<count).map { noise(seed, $0) * Float(pow(10, Double(-($0 / 32 % 6)))) }
}

extension Sequence where Element == Float {
  /// The bits, to compare NaN and the sign of zero too.
  var bits: [UInt32] { map(\.bitPattern) }
}
