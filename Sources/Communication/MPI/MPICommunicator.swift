import CMPI
import Foundation
import Platform

/// Ranks that are processes of an MPI job.
///
/// Waiting sleeps most of the time. After an operation has thrown, later ones throw the same error.
///
/// `@unchecked Sendable`: one thread uses it at a time; every call goes through the lock of `MPICalls`.
public final class MPICommunicator: Communicator, @unchecked Sendable {
  /// The number of this rank, from 0.
  public let rank: Int
  /// The host each rank runs on, by rank.
  public let hostNames: [String]
  /// The number each rank has in the whole job, by rank.
  public let jobRanks: [Int]
  /// The number of ranks.
  public var rankCount: Int { hostNames.count }

  /// Which ranks share memory.
  public let layout: NodeLayout
  /// Signs of life of the other ranks.
  public let liveness: (any Liveness)?

  private let calls: MPICalls
  private let communicator: MPI_Comm?
  private let transfers: PeerTransfers
  private var failure: (any Error)?
  private var windows: [MPI_Win?] = []
  private var sharedMemories: [SharedMemory] = []
  private var subsets: [MPICommunicator] = []

  /// Makes a communicator over all processes, whose messages meet no other's.
  convenience init(
    _ calls: MPICalls, hostNames: [String], layout: NodeLayout, liveness: (any Liveness)?
  ) throws {
    var own: MPI_Comm?
    try calls.call("MPI_Comm_dup") { MPI_Comm_dup(CMPI_commWorld(), &own) }
    try self.init(
      calls, own, hostNames: hostNames, jobRanks: Array(hostNames.indices), layout: layout,
      liveness: liveness)
  }

  private init(
    _ calls: MPICalls, _ communicator: MPI_Comm?, hostNames: [String], jobRanks: [Int], layout: NodeLayout,
    liveness: (any Liveness)?
  ) throws {
    var rank: CInt = 0
    try calls.call("MPI_Comm_set_errhandler") { CMPI_returnErrors(communicator) }
    try calls.call("MPI_Comm_rank") { MPI_Comm_rank(communicator, &rank) }
    self.calls = calls
    self.communicator = communicator
    self.hostNames = hostNames
    self.jobRanks = jobRanks
    self.layout = layout
    self.liveness = liveness
    self.rank = Int(rank)
    transfers = PeerTransfers(calls, communicator, rankCount: hostNames.count)
  }

  /// A communicator over the ranks that pass the same `color`, in the order of this one.
  public func split(color: Int) throws -> any Communicator {
    try keepingFailure {
      let ranks = try ranks(ofColor: color)
      var own: MPI_Comm?
      // MPI takes colors of 32 bits from 0 on: the first rank of a color is one. All ranks are here, so it returns soon.
      try calls.call("MPI_Comm_split") { MPI_Comm_split(communicator, CInt(ranks[0]), CInt(rank), &own) }
      let subset = try MPICommunicator(
        calls, own, hostNames: ranks.map { hostNames[$0] }, jobRanks: ranks.map { jobRanks[$0] },
        layout: layout.subset(ranks), liveness: liveness.map { SubsetLiveness($0, ranks: ranks) })
      subsets.append(subset)
      return subset
    }
  }

  /// Sends one blob to each other of `peers` and receives one from each; gives the byte counts received.
  public func exchange(
    _ operation: CollectiveOperation, with peers: [Int], outgoing: [UnsafeRawBufferPointer],
    incoming: [UnsafeMutableRawBufferPointer], limits: StallLimits?
  ) throws -> [Int] {
    precondition(outgoing.count == peers.count && incoming.count == peers.count, "one buffer a peer")
    guard let own = peers.firstIndex(of: rank) else { preconditionFailure("rank \(rank) is not of \(peers)") }
    return try keepingFailure {
      let watch = watch(operation, limits)
      defer { watch.end() }
      for offset in 1..<max(peers.count, 1) {
        let index = (own + offset) % peers.count
        try transfers.start(with: peers[index], outgoing: outgoing[index], incoming: incoming[index])
      }
      do {
        try transfers.wait(watch)
      } catch let error as PeerTransfers.Failure {
        throw MilmError("\(operation), \(label(of: error.peer)): \(error.reason)")
      }
      return peers.map { $0 == rank ? 0 : transfers.receivedByteCount(from: $0) }
    }
  }

  /// Copies `bytes` of rank `root` over those of all others; their count must be the same everywhere.
  public func broadcast(
    _ operation: CollectiveOperation, _ bytes: UnsafeMutableRawBufferPointer, from root: Int
  ) throws {
    try keepingFailure {
      var watch = watch(operation, nil)
      defer { watch.end() }
      for start in stride(from: 0, to: bytes.count, by: PeerTransfers.pieceByteCount) {
        let count = min(PeerTransfers.pieceByteCount, bytes.count - start)
        let piece = UnsafeMutableRawBufferPointer(rebasing: bytes[start..<start + count])
        try broadcastPiece(piece, from: root, &watch)
        watch.noteProgress()
      }
    }
  }

  private func broadcastPiece(
    _ piece: UnsafeMutableRawBufferPointer, from root: Int, _ watch: inout StallWatch
  ) throws {
    var request = CMPI_requestNull()
    try calls.call("MPI_Ibcast") {
      MPI_Ibcast(piece.baseAddress, CInt(piece.count), CMPI_byte(), CInt(root), communicator, &request)
    }
    var pace = WaitPace()
    var isDone: CInt = 0
    while true {
      try calls.call("MPI_Test") { MPI_Test(&request, &isDone, CMPI_statusIgnore()) }
      if isDone != 0 { return }
      // A broadcast does not tell whom it waits for: the root, or one that passes its bytes on.
      if pace.pause() { try watch.check { (0..<rankCount).filter { $0 != rank } } }
    }
  }

  /// Adds all ranks' values up, as MPI does it.
  func addUp(_ values: UnsafeMutableBufferPointer<Float>) throws {
    try keepingFailure {
      try calls.call("MPI_Allreduce") {
        MPI_Allreduce(
          CMPI_inPlace(), values.baseAddress, CInt(values.count), CMPI_float(), CMPI_sum(), communicator)
      }
    }
  }

  /// Memory that `ranks` see together, `byteCount` for each.
  public func shareMemory(among ranks: [Int], byteCount: Int) throws -> SharedMemory {
    try keepingFailure {
      // What follows blocks inside MPI until all are there.
      try barrier("share memory")
      let known = sharedMemories.first { $0.ranks == ranks && $0.areas.allSatisfy { $0.count >= byteCount } }
      if let known { return known }
      let memory = try allocateShared(among: ranks, byteCount: byteCount)
      sharedMemories.append(memory)
      return memory
    }
  }

  private func allocateShared(among ranks: [Int], byteCount: Int) throws -> SharedMemory {
    var group: MPI_Comm?
    try calls.call("MPI_Comm_split") { MPI_Comm_split(communicator, CInt(ranks[0]), CInt(rank), &group) }
    try calls.call("MPI_Comm_set_errhandler") { CMPI_returnErrors(group) }
    var base: UnsafeMutableRawPointer?
    var window: MPI_Win?
    let pieceByteCount = (SharedMemory.headerByteCount + byteCount + 4095) & ~4095
    try calls.call("MPI_Win_allocate_shared") {
      MPI_Win_allocate_shared(pieceByteCount, 1, CMPI_infoNull(), group, &base, &window)
    }
    windows.append(window)
    base?.initializeMemory(as: UInt8.self, repeating: 0, count: pieceByteCount)
    let pieces = try ranks.indices.map { index in
      var start: UnsafeMutableRawPointer?
      var size: MPI_Aint = 0
      var unit: CInt = 0
      try calls.call("MPI_Win_shared_query") {
        MPI_Win_shared_query(window, CInt(index), &size, &unit, &start)
      }
      return UnsafeMutableRawBufferPointer(start: start, count: Int(size))
    }
    try calls.call("MPI_Barrier") { MPI_Barrier(group) }
    return SharedMemory(ranks: ranks, rank: rank, pieces: pieces)
  }

  /// Frees what all ranks share; all call it, before MPI ends.
  func freeSharedMemory() throws {
    for index in windows.indices { try calls.call("MPI_Win_free") { MPI_Win_free(&windows[index]) } }
    for subset in subsets { try subset.freeSharedMemory() }
    windows.removeAll()
    sharedMemories.removeAll()
  }

  /// Prints `message` on standard error and ends all processes of the job with status 1.
  public func abort(_ message: String) {
    printLine("rank \(jobRanks[rank]): \(message)")
    end()
  }

  /// Ends all processes of the job with status 1.
  func end() {
    fflush(nil)
    _ = calls.status { MPI_Abort(CMPI_commWorld(), 1) }
  }

  private func keepingFailure<Value>(_ body: () throws -> Value) throws -> Value {
    if let failure { throw failure }
    do {
      return try body()
    } catch {
      failure = error
      throw error
    }
  }
}

/// Writes one line to standard error, in one piece, so that ranks do not mix theirs.
func printLine(_ line: String) {
  FileHandle.standardError.write(Data("\(line)\n".utf8))
}
