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

  /// Sends one blob to each other rank and receives one from each; gives the byte counts received, by rank.
  ///
  /// Both arrays have an entry a rank; this rank's own is ignored, its count is 0. `incoming` gives
  /// capacities; a longer blob is an error. All memory must stay where it is until the call returns.
  func exchange(
    _ operation: CollectiveOperation, outgoing: [UnsafeRawBufferPointer],
    incoming: [UnsafeMutableRawBufferPointer], limits: StallLimits?
  ) throws -> [Int]

  /// Copies `bytes` of rank `root` over those of all others; their count must be the same everywhere.
  func broadcast(_ operation: CollectiveOperation, _ bytes: UnsafeMutableRawBufferPointer, from root: Int)
    throws

  /// Ends the job on all ranks, with `message` as the reason; may be called from any thread.
  func abort(_ message: String)
}

extension Communicator {
  /// As in "rank 2 (node-b)".
  public func label(of rank: Int) -> String {
    "rank \(rank) (\(hostNames[rank]))"
  }
}
