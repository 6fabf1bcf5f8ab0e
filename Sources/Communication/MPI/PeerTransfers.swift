import CMPI
import Platform

/// One blob to and one from each peer, in pieces, at the same time.
///
/// A blob ends with the first piece that is shorter than `pieceByteCount`, be it empty:
/// so nobody has to say a size beforehand, and every count fits MPI's `int`.
final class PeerTransfers {
  /// The most bytes one message carries.
  static let pieceByteCount = 64 << 20

  /// What went wrong with one peer.
  struct Failure: Error {
    let peer: Int
    let reason: String
  }

  private let calls: MPICalls
  private let communicator: MPI_Comm?
  private let rankCount: Int
  /// Sends at 0..<rankCount, receives at rankCount..<2 · rankCount; MPI writes into these between calls.
  private let requests: UnsafeMutableBufferPointer<MPI_Request?>
  private let completed: UnsafeMutableBufferPointer<CInt>
  private let statuses: UnsafeMutableBufferPointer<MPI_Status>
  private var outgoing: [UnsafeRawBufferPointer]
  private var incoming: [UnsafeMutableRawBufferPointer]
  private var doneByteCounts: [Int]
  private var activeCount = 0

  init(_ calls: MPICalls, _ communicator: MPI_Comm?, rankCount: Int) {
    self.calls = calls
    self.communicator = communicator
    self.rankCount = rankCount
    requests = .allocate(capacity: 2 * rankCount)
    requests.initialize(repeating: CMPI_requestNull())
    completed = .allocate(capacity: 2 * rankCount)
    completed.initialize(repeating: 0)
    statuses = .allocate(capacity: 2 * rankCount)
    statuses.initialize(repeating: MPI_Status())
    outgoing = Array(repeating: UnsafeRawBufferPointer(start: nil, count: 0), count: rankCount)
    incoming = Array(repeating: UnsafeMutableRawBufferPointer(start: nil, count: 0), count: rankCount)
    doneByteCounts = Array(repeating: 0, count: 2 * rankCount)
  }

  deinit {
    requests.deallocate()
    completed.deallocate()
    statuses.deallocate()
  }

  /// Begins both blobs with one peer.
  func start(
    with peer: Int, outgoing: UnsafeRawBufferPointer, incoming: UnsafeMutableRawBufferPointer
  ) throws(MilmError) {
    self.outgoing[peer] = outgoing
    self.incoming[peer] = incoming
    doneByteCounts[peer] = 0
    doneByteCounts[rankCount + peer] = 0
    try receivePiece(from: peer)
    try sendPiece(to: peer)
    activeCount += 2
  }

  /// Waits until every blob has gone and come, or the watch says that it takes too long.
  func wait(_ watch: StallWatch) throws {
    var watch = watch
    var pace = WaitPace()
    while activeCount > 0 {
      let count = try countCompleted()
      if count > 0 {
        for index in 0..<count { try advance(Int(completed[index]), statuses[index]) }
        watch.noteProgress()
        pace.reset()
      } else if pace.pause() {
        try watch.check(latePeers)
      }
    }
  }

  /// The bytes a rank has sent us.
  func receivedByteCount(from peer: Int) -> Int {
    doneByteCounts[rankCount + peer]
  }

  private func latePeers() -> [Int] {
    (0..<rankCount).filter {
      requests[$0] != CMPI_requestNull() || requests[rankCount + $0] != CMPI_requestNull()
    }
  }

  private func sendPiece(to peer: Int) throws(MilmError) {
    let start = doneByteCounts[peer]
    let piece = outgoing[peer][start...].prefix(Self.pieceByteCount)
    let address = UnsafeRawBufferPointer(rebasing: piece).baseAddress
    try calls.call("MPI_Isend") {
      MPI_Isend(address, CInt(piece.count), CMPI_byte(), CInt(peer), 0, communicator, &requests[peer])
    }
  }

  private func receivePiece(from peer: Int) throws(MilmError) {
    let start = doneByteCounts[rankCount + peer]
    let piece = incoming[peer][start...].prefix(Self.pieceByteCount)
    let address = UnsafeMutableRawBufferPointer(rebasing: piece).baseAddress
    try calls.call("MPI_Irecv") {
      MPI_Irecv(
        address, CInt(piece.count), CMPI_byte(), CInt(peer), 0, communicator, &requests[rankCount + peer])
    }
  }

  /// How many requests have completed since the last call; their numbers are then in `completed`.
  private func countCompleted() throws -> Int {
    var count: CInt = 0
    let code = calls.status {
      MPI_Testsome(
        CInt(requests.count), requests.baseAddress, &count, completed.baseAddress, statuses.baseAddress)
    }
    guard code != MPI_SUCCESS else { return Int(count) }
    guard code == MPI_ERR_IN_STATUS,
      let index = (0..<Int(count)).first(where: { statuses[$0].MPI_ERROR != MPI_SUCCESS })
    else { throw MilmError("MPI_Testsome: \(calls.text(of: code))") }
    throw failure(of: Int(completed[index]), code: statuses[index].MPI_ERROR)
  }

  private func failure(of request: Int, code: CInt) -> Failure {
    let peer = request % rankCount
    guard calls.errorClass(of: code) != MPI_ERR_TRUNCATE else {
      return Failure(peer: peer, reason: "sent more than the \(incoming[peer].count) bytes expected")
    }
    return Failure(peer: peer, reason: "\(request < rankCount ? "send" : "receive"): \(calls.text(of: code))")
  }

  /// Notes one completed piece, and begins the next if the blob has one.
  private func advance(_ request: Int, _ status: MPI_Status) throws(MilmError) {
    let peer = request % rankCount
    var pieceCount = CInt(min(outgoing[peer].count - doneByteCounts[peer], Self.pieceByteCount))
    if request >= rankCount {
      try calls.call("MPI_Get_count") {
        withUnsafePointer(to: status) { MPI_Get_count($0, CMPI_byte(), &pieceCount) }
      }
    }
    doneByteCounts[request] += Int(pieceCount)
    if Int(pieceCount) < Self.pieceByteCount {
      activeCount -= 1
    } else if request < rankCount {
      try sendPiece(to: peer)
    } else {
      try receivePiece(from: peer)
    }
  }
}
