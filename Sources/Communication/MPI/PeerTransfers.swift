import CMPI
import Foundation
import Platform

/// Sends one blob to and receives one from each peer, at the same time, in messages of limited size.
///
/// A blob ends with the first message shorter than `messageByteCount`, which may be empty: sizes need not be known
/// beforehand, and every count fits MPI's `int`. A checksum may accompany a blob, in a message of its own.
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
  /// Kinds of MPI requests; that of peer p is at kind · rankCount + p.
  private enum Kind: Int, CaseIterable {
    case send, receive, sendChecksum, receiveChecksum

    var tag: CInt { self == .send || self == .receive ? 0 : 1 }
  }

  /// MPI writes into these between calls.
  private let requests: UnsafeMutableBufferPointer<CMPI_Request>
  private let completed: UnsafeMutableBufferPointer<CInt>
  private let statuses: UnsafeMutableBufferPointer<MPI_Status>
  private var outgoing: [UnsafeRawBufferPointer]
  private var incoming: [UnsafeMutableRawBufferPointer]
  private var doneByteCounts: [Int]
  private var activeCount = 0
  /// Those sent at 0..<rankCount, those received at rankCount..<2 · rankCount.
  private let checksums: UnsafeMutableBufferPointer<UInt64>
  private var hasChecksums = false

  init(_ group: MPIGroup) {
    let rankCount = group.rankCount
    self.group = group
    self.rankCount = rankCount
    let requestCount = Kind.allCases.count * rankCount
    requests = .allocated(capacity: requestCount)
    requests.initialize(repeating: CMPI_requestNull())
    completed = .allocated(capacity: requestCount)
    completed.initialize(repeating: 0)
    statuses = .allocated(capacity: requestCount)
    statuses.initialize(repeating: MPI_Status())
    checksums = .allocated(capacity: 2 * rankCount)
    checksums.initialize(repeating: 0)
    outgoing = Array(repeating: UnsafeRawBufferPointer(start: nil, count: 0), count: rankCount)
    incoming = Array(repeating: UnsafeMutableRawBufferPointer(start: nil, count: 0), count: rankCount)
    doneByteCounts = Array(repeating: 0, count: 2 * rankCount)
  }

  deinit {
    free(requests.baseAddress)
    free(completed.baseAddress)
    free(statuses.baseAddress)
    free(checksums.baseAddress)
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

  /// Sends the checksum of the blob to a peer and receives that of the peer's.
  func exchangeChecksums(with peer: Int, own: UInt64) throws(MilmError) {
    let (outgoing, incoming) = (peer, rankCount + peer)
    checksums[outgoing] = own
    checksums[incoming] = 0
    guard let start = checksums.baseAddress else { return }
    try receive(start + incoming, MemoryLayout<UInt64>.size, .receiveChecksum, from: peer)
    try send(start + outgoing, MemoryLayout<UInt64>.size, .sendChecksum, to: peer)
    activeCount += 2
    hasChecksums = true
  }

  /// The checksum received from a peer.
  func checksum(from peer: Int) -> UInt64 { checksums[rankCount + peer] }

  /// Waits until every blob is sent and received.
  ///
  /// `onProgress` is called after each completed message, `onPause` after a while without any; it may throw to give up,
  /// and can ask which peers have not completed.
  func wait(onProgress: () -> Void, onPause: (_ stragglers: () -> [Int]) throws -> Void) throws {
    defer { hasChecksums = false }
    var pace = WaitPace()
    while activeCount > 0 {
      let count = try countCompleted()
      if count > 0 {
        for index in 0..<count { try advance(Int(completed[index]), statuses[index]) }
        onProgress()
        pace.reset()
      } else if pace.pause() {
        try onPause(stragglers)
      }
    }
  }

  func receivedByteCount(from peer: Int) -> Int {
    doneByteCounts[rankCount + peer]
  }

  private func stragglers() -> [Int] {
    (0..<rankCount).filter { peer in
      Kind.allCases.contains { !CMPI_isNull(requests[$0.rawValue * rankCount + peer]) }
    }
  }

  private func sendMessage(to peer: Int) throws(MilmError) {
    let start = doneByteCounts[peer]
    let message = outgoing[peer][start...].prefix(Self.messageByteCount)
    try send(UnsafeRawBufferPointer(rebasing: message).baseAddress, message.count, .send, to: peer)
  }

  private func receiveMessage(from peer: Int) throws(MilmError) {
    let start = doneByteCounts[rankCount + peer]
    let message = incoming[peer][start...].prefix(Self.messageByteCount)
    let address = UnsafeMutableRawBufferPointer(rebasing: message).baseAddress
    try receive(address, message.count, .receive, from: peer)
  }

  private func send(
    _ address: UnsafeRawPointer?, _ byteCount: Int, _ kind: Kind, to peer: Int
  ) throws(MilmError) {
    try group.calls.call("MPI_Isend") {
      CMPI_isend(
        address, CInt(byteCount), CInt(peer), kind.tag, group.handle,
        &requests[kind.rawValue * rankCount + peer])
    }
  }

  private func receive(
    _ address: UnsafeMutableRawPointer?, _ byteCount: Int, _ kind: Kind, from peer: Int
  ) throws(MilmError) {
    try group.calls.call("MPI_Irecv") {
      CMPI_irecv(
        address, CInt(byteCount), CInt(peer), kind.tag, group.handle,
        &requests[kind.rawValue * rankCount + peer])
    }
  }

  /// Number of requests completed since the last call; their indices are then in `completed`.
  private func countCompleted() throws -> Int {
    var count: CInt = 0
    let requestCount = hasChecksums ? requests.count : 2 * rankCount
    let code = group.calls.status {
      CMPI_testsome(
        CInt(requestCount), requests.baseAddress, &count, completed.baseAddress, statuses.baseAddress)
    }
    guard code != MPI_SUCCESS else { return Int(count) }
    guard code == MPI_ERR_IN_STATUS,
      let index = (0..<Int(count)).first(where: { statuses[$0].MPI_ERROR != MPI_SUCCESS })
    else { throw MilmError("MPI_Testsome: \(group.calls.text(of: code))") }
    throw failure(of: Int(completed[index]), code: statuses[index].MPI_ERROR)
  }

  private func failure(of request: Int, code: CInt) -> Failure {
    let peer = request % rankCount
    let kind = Kind(rawValue: request / rankCount)
    guard kind != .receive || group.calls.errorClass(of: code) != MPI_ERR_TRUNCATE else {
      return Failure(peer: peer, reason: "sent more than the \(incoming[peer].count) bytes expected")
    }
    return Failure(
      peer: peer,
      reason: "\(kind == .send || kind == .sendChecksum ? "send" : "receive"): \(group.calls.text(of: code))")
  }

  /// Counts one completed message and starts the next if the blob has one.
  private func advance(_ request: Int, _ status: MPI_Status) throws(MilmError) {
    let peer = request % rankCount
    guard request < 2 * rankCount else {
      activeCount -= 1
      return
    }
    var sentCount = CInt(min(outgoing[peer].count - doneByteCounts[peer], Self.messageByteCount))
    if request >= rankCount {
      try group.calls.call("MPI_Get_count") {
        withUnsafePointer(to: status) { CMPI_byteCount($0, &sentCount) }
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
