import CMPI
import Foundation

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
  /// The number of ranks.
  public var rankCount: Int { hostNames.count }

  private let calls: MPICalls
  private let communicator: MPI_Comm?
  private let transfers: PeerTransfers
  private var failure: (any Error)?

  /// Makes a communicator over all processes, whose messages meet no other's.
  init(_ calls: MPICalls, hostNames: [String]) throws {
    var own: MPI_Comm?
    var rank: CInt = 0
    try calls.call("MPI_Comm_dup") { MPI_Comm_dup(CMPI_commWorld(), &own) }
    try calls.call("MPI_Comm_set_errhandler") { CMPI_returnErrors(own) }
    try calls.call("MPI_Comm_rank") { MPI_Comm_rank(own, &rank) }
    self.calls = calls
    self.hostNames = hostNames
    self.rank = Int(rank)
    communicator = own
    transfers = PeerTransfers(calls, own, rankCount: hostNames.count)
  }

  /// Sends one blob to each other rank and receives one from each; gives the byte counts received, by rank.
  public func exchange(
    _ operation: CollectiveOperation, outgoing: [UnsafeRawBufferPointer],
    incoming: [UnsafeMutableRawBufferPointer], limits: StallLimits?
  ) throws -> [Int] {
    precondition(outgoing.count == rankCount && incoming.count == rankCount, "one buffer a rank")
    return try keepingFailure {
      let watch = StallWatch(limits, operation: operation, rank: rank, hostNames: hostNames)
      for offset in 1..<max(rankCount, 1) {
        let peer = (rank + offset) % rankCount
        try transfers.start(with: peer, outgoing: outgoing[peer], incoming: incoming[peer])
      }
      do {
        try transfers.wait(watch)
      } catch let error as PeerTransfers.Failure {
        throw CommunicationError("\(operation), \(label(of: error.peer)): \(error.reason)")
      }
      return transfers.takeReceivedByteCounts()
    }
  }

  /// Copies `bytes` of rank `root` over those of all others; their count must be the same everywhere.
  public func broadcast(
    _ operation: CollectiveOperation, _ bytes: UnsafeMutableRawBufferPointer, from root: Int
  ) throws {
    try keepingFailure {
      for start in stride(from: 0, to: bytes.count, by: PeerTransfers.pieceByteCount) {
        let count = min(PeerTransfers.pieceByteCount, bytes.count - start)
        try broadcastPiece(UnsafeMutableRawBufferPointer(rebasing: bytes[start..<start + count]), from: root)
      }
    }
  }

  private func broadcastPiece(_ piece: UnsafeMutableRawBufferPointer, from root: Int) throws {
    var request = CMPI_requestNull()
    try calls.call("MPI_Ibcast") {
      MPI_Ibcast(piece.baseAddress, CInt(piece.count), CMPI_byte(), CInt(root), communicator, &request)
    }
    var pace = WaitPace()
    var isDone: CInt = 0
    while true {
      try calls.call("MPI_Test") { MPI_Test(&request, &isDone, CMPI_statusIgnore()) }
      if isDone != 0 { return }
      _ = pace.pause()
    }
  }

  /// Prints `message` on standard error and ends all processes of the job with status 1.
  public func abort(_ message: String) {
    printLine("rank \(rank): \(message)")
    end()
  }

  /// Ends all processes of the job with status 1.
  func end() {
    fflush(nil)
    _ = calls.status { MPI_Abort(communicator, 1) }
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
