import CKernels
import Tensors

/// Shared memory of one node's ranks: each rank's contribution to a bucket, and the means of each partition.
///
/// The area of each rank begins with its contribution; the second half of a leader's holds its partition's means.
/// A contribution is written only after the barrier that follows the reading of the previous one, and means only after the
/// barrier that follows the contributions: two barriers per bucket are enough.
///
/// `@unchecked Sendable`: the communication thread alone uses it.
final class NodeMemory: @unchecked Sendable {
  /// Maximum bytes of a node's areas together; containers have little shared memory.
  static let byteBudget = 48 << 20

  let shared: SharedMemory
  /// The partition this rank leads.
  let partition: Int?
  /// The sums of the partition over the node's ranks.
  private let sumBuffer: FloatBuffer
  private let contributionByteCount: Int
  /// Room for the rows of all ranks of the node, on its first rank.
  private let mergedRowBuffer: AlignedBuffer

  init(
    _ communicator: any Communicator, _ layout: NodeLayout, contributionByteCount: Int,
    partitionElementCount: Int,
    rowByteCount: Int, in arena: Arena
  ) throws {
    self.contributionByteCount = (contributionByteCount + 63) & ~63
    partition = layout.partition(of: communicator.rank)
    sumBuffer = FloatBuffer(count: partition == nil ? 0 : partitionElementCount, in: arena)
    let isFirst = layout.localIndex(of: communicator.rank) == 0
    mergedRowBuffer = AlignedBuffer(byteCount: isFirst ? rowByteCount : 0, in: arena)
    let resultByteCount = max(4 * partitionElementCount, rowByteCount)
    let areaByteCount = self.contributionByteCount + (resultByteCount + 63) & ~63
    arena.count(byteCount: SharedMemory.headerByteCount + areaByteCount)
    shared = try communicator.shareMemory(
      among: layout.nodes[layout.node(of: communicator.rank)], byteCount: areaByteCount)
  }

  /// The sums of the partition this rank leads.
  var sums: UnsafeMutablePointer<Float> { sumBuffer.start }

  /// Room for the rows of all ranks of the node.
  var mergedRows: UnsafeMutableRawPointer {
    guard let start = mergedRowBuffer.bytes.baseAddress else {
      preconditionFailure("memory without an address")
    }
    return start
  }

  /// The contribution of one of the node's ranks.
  func contribution(of local: Int) -> UnsafeMutableRawPointer {
    start(of: local)
  }

  /// The result that one of the node's ranks publishes to the others.
  func result(of local: Int) -> UnsafeMutableRawPointer {
    start(of: local) + contributionByteCount
  }

  /// The means over all ranks of a partition, which its leader on this node writes.
  func means(ofPartition partition: Int) -> UnsafeMutablePointer<Float> {
    result(of: partition).assumingMemoryBound(to: Float.self)
  }

  /// Writes this rank's values for the node.
  func contribute(_ values: UnsafePointer<Float>, _ count: Int) {
    contribution(of: shared.localIndex).copyMemory(from: values, byteCount: 4 * count)
  }

  /// Sets `sums` to the sums of the contributions, in the order of ranks.
  func sumContributions(from offset: Int, count: Int) {
    for local in shared.areas.indices {
      let values = contribution(of: local).assumingMemoryBound(to: Float.self) + offset
      if local == 0 {
        sums.update(from: values, count: count)
      } else {
        CKernels_codecAdd(sums, values, count)
      }
    }
  }

  private func start(of local: Int) -> UnsafeMutableRawPointer {
    guard let start = shared.areas[local].baseAddress else {
      preconditionFailure("memory without an address")
    }
    return start
  }
}
