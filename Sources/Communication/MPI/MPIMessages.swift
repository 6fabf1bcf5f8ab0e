import CMPI
import Foundation
import Platform

/// Short messages of fixed size between all ranks of a group.
///
/// No call waits; a message that cannot be sent at once is dropped. Each ends with the XXH64 of the bytes before.
///
/// `@unchecked Sendable`: one thread uses it.
final class MPIMessages: @unchecked Sendable {
  private let group: MPIGroup
  private let byteCount: Int
  /// Sends at 0..<rankCount, receives at rankCount..<2 · rankCount; MPI writes into these between calls.
  private let requests: UnsafeMutableBufferPointer<CMPI_Request>
  private let memory: UnsafeMutableRawBufferPointer

  init(_ group: MPIGroup, byteCount: Int) {
    self.group = group
    self.byteCount = byteCount
    requests = .allocated(capacity: 2 * group.rankCount)
    requests.initialize(repeating: CMPI_requestNull())
    memory = .allocated(byteCount: 2 * group.rankCount * byteCount)
    memory.initializeMemory(as: UInt8.self, repeating: 0)
  }

  deinit {
    free(requests.baseAddress)
    free(memory.baseAddress)
  }

  /// Sends a text, cut where it is too long, unless the previous one is still on its way.
  func send(_ text: String, to peer: Int) {
    guard isDone(peer) else { return }
    let message = message(peer)
    message.initializeMemory(as: UInt8.self, repeating: 0)
    message.copyBytes(from: text.utf8.prefix(textByteCount - 1))
    message.storeBytes(of: checksum(of: message), toByteOffset: textByteCount, as: UInt64.self)
    _ = group.calls.status {
      CMPI_isend(
        message.baseAddress, CInt(byteCount), CInt(peer), 0, group.handle, &requests[peer])
    }
  }

  /// Posts the receive of the next message from a rank.
  func postReceive(from peer: Int) {
    let index = group.rankCount + peer
    _ = group.calls.status {
      CMPI_irecv(
        message(index).baseAddress, CInt(byteCount), CInt(peer), 0, group.handle,
        &requests[index])
    }
  }

  /// The message from a rank if one has arrived since the last call; then posts the next receive.
  ///
  /// A corrupted message counts as a heartbeat; its text says that it is corrupted.
  func received(from peer: Int) -> String? {
    let index = group.rankCount + peer
    guard !CMPI_isNull(requests[index]), isDone(index) else { return nil }
    defer { postReceive(from: peer) }
    let message = message(index)
    guard message.load(fromByteOffset: textByteCount, as: UInt64.self) == checksum(of: message) else {
      return "a corrupted heartbeat"
    }
    return String(decoding: message.prefix(textByteCount).prefix { $0 != 0 }, as: UTF8.self)
  }

  /// Cancels the receive from a rank.
  func cancelReceive(from peer: Int) {
    let index = group.rankCount + peer
    guard !CMPI_isNull(requests[index]) else { return }
    _ = group.calls.status { CMPI_cancel(&requests[index]) }
    _ = group.calls.status { CMPI_requestFree(&requests[index]) }
  }

  private var textByteCount: Int { byteCount - MemoryLayout<UInt64>.size }

  private func checksum(of message: UnsafeMutableRawBufferPointer) -> UInt64 {
    XXH64.hash(UnsafeRawBufferPointer(rebasing: message[..<textByteCount]))
  }

  private func message(_ index: Int) -> UnsafeMutableRawBufferPointer {
    UnsafeMutableRawBufferPointer(rebasing: memory[(index * byteCount)..<((index + 1) * byteCount)])
  }

  private func isDone(_ index: Int) -> Bool {
    (try? group.isDone(&requests[index])) ?? false
  }
}
