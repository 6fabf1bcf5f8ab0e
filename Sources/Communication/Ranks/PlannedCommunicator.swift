import Tensors

/// A rank of a job that does not exist: what allocates for an exchange can be constructed with it in a counting arena, but
/// nothing can be sent.
package final class PlannedCommunicator: Communicator {
  package let rank: Int
  package let layout: NodeLayout
  private let colorOfRank: @Sendable (Int) -> Int

  /// A rank of a job on the nodes of a layout; `colorOfRank` is the color that each rank passes to `split`.
  package init(rank: Int, layout: NodeLayout, colorOfRank: @escaping @Sendable (Int) -> Int = { _ in 0 }) {
    self.rank = rank
    self.layout = layout
    self.colorOfRank = colorOfRank
  }

  package var rankCount: Int { layout.rankCount }
  package var hostNames: [String] { layout.nodeOfRank.map { "planned host \($0)" } }
  package var jobRanks: [Int] { Array(0..<rankCount) }
  package var liveness: (any Liveness)? { nil }

  package func split(color: Int) throws -> any Communicator {
    let ranks = (0..<rankCount).filter { $0 == rank || colorOfRank($0) == color }
    let subset = layout.subset(ranks)
    return PlannedCommunicator(rank: ranks.firstIndex(of: rank) ?? 0, layout: subset)
  }

  /// Pieces without elements.
  package func shareMemory(among ranks: [Int], byteCount: Int) throws -> SharedMemory {
    let pieces = ranks.map { _ in
      let piece = Arena(counting: true).vector(
        of: UInt8.self, count: SharedMemory.headerByteCount + byteCount)
      return UnsafeMutableRawBufferPointer(piece.buffer)
    }
    return SharedMemory(ranks: ranks, rank: rank, pieces: pieces)
  }

  package func exchange(
    _ operation: MessageTag, with peers: [Int], outgoing: [UnsafeRawBufferPointer],
    incoming: [UnsafeMutableRawBufferPointer], limits: StallLimits?
  ) throws -> [Int] { notStarted() }

  package func broadcast(
    _ operation: MessageTag, _ bytes: UnsafeMutableRawBufferPointer, from root: Int
  ) throws { notStarted() }

  package func transportSum(_ values: UnsafeMutableBufferPointer<Float>) throws { notStarted() }

  package func abort(_ message: String) { notStarted() }

  private func notStarted() -> Never { preconditionFailure("a planned job has no other ranks") }
}
