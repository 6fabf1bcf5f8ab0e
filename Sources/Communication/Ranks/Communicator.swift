/// A group of ranks that run the same operations in the same order.
///
/// Two communicators over the same ranks never mix their messages. One thread uses a communicator at a time.
/// After an operation has thrown, the communicator is of no further use:
/// what the other ranks received is not known.
public protocol Communicator: AnyObject, Sendable {
  /// The number of this rank, from 0.
  var rank: Int { get }
  /// The number of ranks.
  var rankCount: Int { get }
  /// The host each rank runs on, by rank.
  var hostNames: [String] { get }
  /// The number each rank has in the whole job, by rank: messages name ranks by it.
  var jobRanks: [Int] { get }

  /// Which ranks share memory.
  var layout: NodeLayout { get }
  /// Signs of life of the ranks; nil where they share a process.
  var liveness: (any Liveness)? { get }

  /// Sends one blob to each other of `peers` and receives one from each; gives the byte counts received.
  ///
  /// Exactly the ranks of `peers` call it, all with the same. The arrays have an entry for each peer, and so has the
  /// answer; this rank's own is ignored, its count is 0. `incoming` gives capacities; a longer blob is an error.
  /// All memory must stay where it is until the call returns.
  func exchange(
    _ operation: CollectiveOperation, with peers: [Int], outgoing: [UnsafeRawBufferPointer],
    incoming: [UnsafeMutableRawBufferPointer], limits: StallLimits?
  ) throws -> [Int]

  /// Memory that `ranks` see together, `byteCount` for each, zero at first; they share a node.
  ///
  /// All ranks of the communicator call it at the same time, each with the group it is in. It may be memory
  /// that was given before, which is then used by turns.
  func shareMemory(among ranks: [Int], byteCount: Int) throws -> SharedMemory

  /// Copies `bytes` of rank `root` over those of all others; their count must be the same everywhere.
  func broadcast(_ operation: CollectiveOperation, _ bytes: UnsafeMutableRawBufferPointer, from root: Int)
    throws

  /// A communicator over the ranks that pass the same `color`, in the order of this one.
  ///
  /// All ranks of this communicator call it at the same time. Messages of the two never mix; the thread that uses this
  /// communicator uses both.
  func split(color: Int) throws -> any Communicator

  /// Ends the job on all ranks, with `message` as the reason; may be called from any thread.
  func abort(_ message: String)
}

extension Communicator {
  /// Sends one blob to each other rank and receives one from each; gives the byte counts received, by rank.
  public func exchange(
    _ operation: CollectiveOperation, outgoing: [UnsafeRawBufferPointer],
    incoming: [UnsafeMutableRawBufferPointer], limits: StallLimits?
  ) throws -> [Int] {
    try exchange(
      operation, with: Array(0..<rankCount), outgoing: outgoing, incoming: incoming, limits: limits)
  }

  /// The ranks that pass the same `color` as this one; all ranks call it.
  func ranks(ofColor color: Int) throws -> [Int] {
    let own = UInt64(bitPattern: Int64(color))
    let colors = try allGatherWords("split the communicator", [own]).map { $0[0] }
    return colors.indices.filter { colors[$0] == own }
  }

  /// Begins to measure how long an operation waits.
  func watch(_ operation: CollectiveOperation, _ limits: StallLimits?) -> StallWatch {
    StallWatch(limits, operation: operation, rank: rank, label: label(of:), liveness: liveness)
  }

  /// As in "rank 2 (node-b)", by its number in the whole job.
  public func label(of rank: Int) -> String {
    "rank \(jobRanks[rank]) (\(hostNames[rank]))"
  }
}
