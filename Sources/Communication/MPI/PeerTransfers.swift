import CMPI
import Platform

/// Sends one blob to and receives one from each peer, at the same time, in messages of limited size.
///
/// A blob ends with the first message shorter than `messageByteCount`, which may be empty: sizes need not be known
/// beforehand, and every count fits MPI's `int`.
final class PeerTransfers {
  /// Maximum size of one message.
  static let messageByteCount = 64 << 20

  /// A failed transfer with one peer.
  struct Failure: Error {
    let peer: Int
    let reason: String
  }

  private let group: MPIGroup
  private let rankCount: Int
  /// Sends at 0..<rankCount, receives at rankCount..<2 · rankCount; MPI writes into these between calls.
  private let requests: UnsafeMutableBufferPointer<MPI_Request?>
  private let completed: UnsafeMutableBufferPointer<CInt>
  private let statuses: UnsafeMutableBufferPointer<MPI_Status>
  private var outgoing: [UnsafeRawBufferPointer]
  private var incoming: [UnsafeMutableRawBufferPointer]
  private var doneByteCounts: [Int]
  private var activeCount = 0

  init(_ group: MPIGroup) {
    let rankCount = group.rankCount
    self.group = group
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

  /// Starts both transfers with one peer.
  func start(
    with peer: Int, outgoing: UnsafeRawBufferPointer, incoming: UnsafeMutableRawBufferPointer
  ) throws(MilmError) {
    self.outgoing[peer] = outgoing
    self.incoming[peer] = incoming
    doneByteCounts[peer] = 0
    doneByteCounts[rankCount + peer] = 0
    try receiveMessage(from: peer)
    try sendMessage(to: peer)
    activeCount += 2
  }

  /// Waits until every blob is sent and received.
  ///
  /// `onProgress` is called after each completed message, `onPause` after a while without any; it may throw to give up,
  /// and can ask which peers have not completed.
  func wait(onProgress: () -> Void, onPause: (_ latePeers: () -> [Int]) throws -> Void) throws {
    var pace = WaitPace()
    while activeCount > 0 {
      let count = try countCompleted()
      if count > 0 {
        for index in 0..<count { try advance(Int(completed[index]), statuses[index]) }
        onProgress()
        pace.reset()
      } else if pace.pause() {
        try onPause(latePeers)
      }
    }
  }

  /// Bytes received from a peer.
  func receivedByteCount(from peer: Int) -> Int {
    doneByteCounts[rankCount + peer]
  }

  private func latePeers() -> [Int] {
    (0..<rankCount).filter {
      requests[$0] != CMPI_requestNull() || requests[rankCount + $0] != CMPI_requestNull()
    }
  }

  private func sendMessage(to peer: Int) throws(MilmError) {
    let start = doneByteCounts[peer]
    let message = outgoing[peer][start...].prefix(Self.messageByteCount)
    let address = UnsafeRawBufferPointer(rebasing: message).baseAddress
    try group.calls.call("MPI_Isend") {
      MPI_Isend(address, CInt(message.count), CMPI_byte(), CInt(peer), 0, group.handle, &requests[peer])
    }
  }

  private func receiveMessage(from peer: Int) throws(MilmError) {
    let start = doneByteCounts[rankCount + peer]
    let message = incoming[peer][start...].prefix(Self.messageByteCount)
    let address = UnsafeMutableRawBufferPointer(rebasing: message).baseAddress
    try group.calls.call("MPI_Irecv") {
      MPI_Irecv(
        address, CInt(message.count), CMPI_byte(), CInt(peer), 0, group.handle, &requests[rankCount + peer])
    }
  }

  /// Number of requests completed since the last call; their indices are then in `completed`.
  private func countCompleted() throws -> Int {
    var count: CInt = 0
    let code = group.calls.status {
      MPI_Testsome(
        CInt(requests.count), requests.baseAddress, &count, completed.baseAddress, statuses.baseAddress)
    }
    guard code != MPI_SUCCESS else { return Int(count) }
    guard code == MPI_ERR_IN_STATUS,
      let index = (0..<Int(count)).first(where: { statuses[$0].MPI_ERROR != MPI_SUCCESS })
    else { throw MilmError("MPI_Testsome: \(group.calls.text(of: code))") }
    throw failure(of: Int(completed[index]), code: statuses[index].MPI_ERROR)
  }

  private func failure(of request: Int, code: CInt) -> Failure {
    let peer = request % rankCount
    guard group.calls.errorClass(of: code) != MPI_ERR_TRUNCATE else {
      return Failure(peer: peer, reason: "sent more than the \(incoming[peer].count) bytes expected")
    }
    return Failure(
      peer: peer, reason: "\(request < rankCount ? "send" : "receive"): \(group.calls.text(of: code))")
  }

  /// Counts one completed message and starts the next if the blob has one.
  private func advance(_ request: Int, _ status: MPI_Status) throws(MilmError) {
    let peer = request % rankCount
    var sentCount = CInt(min(outgoing[peer].count - doneByteCounts[peer], Self.messageByteCount))
    if request >= rankCount {
      try group.calls.call("MPI_Get_count") {
        withUnsafePointer(to: status) { MPI_Get_count($0, CMPI_byte(), &sentCount) }
      }
    }
    doneByteCounts[request] += Int(sentCount)
    if Int(sentCount) < Self.messageByteCount {
      activeCount -= 1
    } else if request < rankCount {
      try sendMessage(to: peer)
    } else {
      try receiveMessage(from: peer)
    }
  }
}
