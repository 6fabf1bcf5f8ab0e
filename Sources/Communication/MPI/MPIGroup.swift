import CMPI
import Platform

/// An MPI communicator and the typed calls on it; messages of different groups never mix.
///
/// Calls that wait for other ranks say so; a caller makes them where all ranks are known to arrive soon, for they hold the
/// lock of `MPICalls`.
///
/// `@unchecked Sendable`: the handle never changes, and every call goes through the lock of `MPICalls`.
final class MPIGroup: @unchecked Sendable {
  let calls: MPICalls
  let handle: CMPI_Comm
  let rank: Int
  let rankCount: Int

  private init(_ calls: MPICalls, _ handle: CMPI_Comm) throws(MilmError) {
    var (rank, rankCount): (CInt, CInt) = (0, 0)
    try calls.call("MPI_Comm_set_errhandler") { CMPI_returnErrors(handle) }
    try calls.call("MPI_Comm_rank") { CMPI_commRank(handle, &rank) }
    try calls.call("MPI_Comm_size") { CMPI_commSize(handle, &rankCount) }
    self.calls = calls
    self.handle = handle
    self.rank = Int(rank)
    self.rankCount = Int(rankCount)
  }

  /// All ranks of the job.
  static func world(_ calls: MPICalls) throws(MilmError) -> MPIGroup {
    try MPIGroup(calls, CMPI_commWorld())
  }

  /// A duplicate of the group; waits for all of its ranks.
  func duplicated() throws(MilmError) -> MPIGroup {
    var other = CMPI_commNull()
    try calls.call("MPI_Comm_dup") { CMPI_commDup(handle, &other) }
    return try MPIGroup(calls, other)
  }

  /// The ranks that pass the same `color`, a number from 0 on, in the order of this group; waits for all of them.
  func split(color: Int) throws(MilmError) -> MPIGroup {
    var other = CMPI_commNull()
    try calls.call("MPI_Comm_split") { CMPI_commSplit(handle, CInt(color), CInt(rank), &other) }
    return try MPIGroup(calls, other)
  }

  /// For each rank the first of those it shares memory with; waits for all of them.
  func firstRanksOfNodes() throws(MilmError) -> [Int] {
    var node = CMPI_commNull()
    try calls.call("MPI_Comm_split_type") { CMPI_commSplitShared(handle, CInt(rank), &node) }
    var first = CInt(rank)
    try calls.call("MPI_Bcast") { CMPI_bcast(&first, 4, 0, node) }
    var firsts = [CInt](repeating: 0, count: rankCount)
    try calls.call("MPI_Allgather") { CMPI_allgather(&first, &firsts, 4, handle) }
    try calls.call("MPI_Comm_free") { CMPI_commFree(&node) }
    return firsts.map(Int.init)
  }

  /// The host of each rank; waits for all of them.
  func gatherHostNames() throws(MilmError) -> [String] {
    let capacity = Int(MPI_MAX_PROCESSOR_NAME)
    var own = [CChar](repeating: 0, count: capacity)
    var names = [CChar](repeating: 0, count: capacity * rankCount)
    var length: CInt = 0
    try calls.call("MPI_Get_processor_name") { MPI_Get_processor_name(&own, &length) }
    try calls.call("MPI_Allgather") { CMPI_allgather(&own, &names, CInt(capacity), handle) }
    return (0..<rankCount).map { rank in
      let name = names[(rank * capacity)..<((rank + 1) * capacity)].prefix { $0 != 0 }
      return String(decoding: name.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
  }

  /// Sums values over all ranks in MPI's own order, in place; waits for all of them.
  func sum(_ values: UnsafeMutableBufferPointer<Float>) throws(MilmError) {
    try calls.call("MPI_Allreduce") { CMPI_allreduceSum(values.baseAddress, CInt(values.count), handle) }
  }

  /// Starts to broadcast `bytes` of rank `root` over those of all others; the memory must stay valid until the request is done.
  func startBroadcast(
    _ bytes: UnsafeMutableRawBufferPointer, from root: Int
  ) throws(MilmError) -> CMPI_Request {
    var request = CMPI_requestNull()
    try calls.call("MPI_Ibcast") {
      CMPI_ibcast(bytes.baseAddress, CInt(bytes.count), CInt(root), handle, &request)
    }
    return request
  }

  /// Whether a request is done.
  func isDone(_ request: inout CMPI_Request) throws(MilmError) -> Bool {
    var isDone: CInt = 0
    try calls.call("MPI_Test") { CMPI_test(&request, &isDone) }
    return isDone != 0
  }

  /// Ends all processes of the job.
  func abort(status: CInt) {
    _ = calls.status { CMPI_abort(CMPI_commWorld(), status) }
  }
}

/// Memory shared by the ranks of a group, which are on one node.
///
/// `@unchecked Sendable`: the addresses never change; the ranks agree which of them uses which bytes.
final class MPISharedWindow: @unchecked Sendable {
  /// The bytes of each rank.
  let pieces: [UnsafeMutableRawBufferPointer]
  private let calls: MPICalls
  private var window: CMPI_Window

  /// `byteCount` zero bytes for each rank of a group; waits for all of them.
  init(_ group: MPIGroup, byteCount: Int) throws(MilmError) {
    var (window, base): (CMPI_Window, UnsafeMutableRawPointer?) = (CMPI_Window(), nil)
    try group.calls.call("MPI_Win_allocate_shared") {
      CMPI_windowAllocateShared(byteCount, group.handle, &base, &window)
    }
    base?.initializeMemory(as: UInt8.self, repeating: 0, count: byteCount)
    var pieces: [UnsafeMutableRawBufferPointer] = []
    for rank in 0..<group.rankCount {
      var start: UnsafeMutableRawPointer?
      var size: MPI_Aint = 0
      try group.calls.call("MPI_Win_shared_query") {
        CMPI_windowSharedQuery(window, CInt(rank), &size, &start)
      }
      pieces.append(UnsafeMutableRawBufferPointer(start: start, count: Int(size)))
    }
    try group.calls.call("MPI_Barrier") { CMPI_barrier(group.handle) }
    self.pieces = pieces
    self.window = window
    calls = group.calls
  }

  /// Frees the memory; waits for all ranks of the group.
  func free() throws(MilmError) {
    try calls.call("MPI_Win_free") { CMPI_windowFree(&window) }
  }
}
