import Communication
import Foundation
import Synchronization

/// Flips a bit of one message that this process receives, as a failing network card or memory does.
package final class Corruption: Sendable {
  /// What messages of a run have in common.
  package struct Kind: Hashable, Sendable, CustomStringConvertible {
    /// The operation without its numbers.
    package let name: String
    package let phase: MessageTag.Phase
    /// Whether it is the header that begins a collective.
    package let isHeader: Bool

    package init(_ name: String, phase: MessageTag.Phase = .control, isHeader: Bool = false) {
      self.name = name.filter { !$0.isNumber }
      self.phase = phase
      self.isHeader = isHeader
    }

    package var description: String { "\(isHeader ? "header" : "bytes") of '\(name)', \(phase)" }
  }

  private struct State {
    var seen: Set<Kind> = []
    var target: Kind?
    var corrupted: (operation: MessageTag, sender: Int, receiver: Int)?
  }

  private let state = Mutex(State())

  /// Corrupts the first message of a kind; nil: none, the kinds are recorded.
  package init(_ target: Kind? = nil) { state.withLock { $0.target = target } }

  /// Corrupts the next message of another kind.
  package func aim(at target: Kind?) {
    state.withLock { ($0.target, $0.corrupted) = (target, nil) }
  }

  /// The kinds of messages that were received, and are not only timed.
  package var kinds: [Kind] { state.withLock { $0.seen }.sorted { "\($0)" < "\($1)" } }

  /// The message that was corrupted.
  package var corrupted: (operation: MessageTag, sender: Int, receiver: Int)? {
    state.withLock { $0.corrupted }
  }

  /// What communicators call.
  package var fault: ReceptionFault {
    { [self] operation, sender, receiver, bytes in
      guard !bytes.isEmpty, operation.phase != .probe || !operation.checksItsBytes else { return }
      let kind = Kind(
        operation.name, phase: operation.phase, isHeader: operation.phase == .control && bytes.count == 64)
      state.withLock { state in
        state.seen.insert(kind)
        guard state.target == kind, state.corrupted == nil else { return }
        state.corrupted = (operation, sender, receiver)
        bytes[bytes.count / 2] ^= 4
      }
    }
  }
}

/// One operation of each kind that a communicator has, to be corrupted.
package struct CollectiveOperation: Sendable {
  /// Its name.
  package let name: String
  /// Whether headers are compared before its bytes are sent, and whether there are any.
  package let (hasHeader, hasBytes): (Bool, Bool)
  /// Runs it; all ranks call it.
  package let run: @Sendable (any Communicator) throws -> Void

  private init(
    _ name: String, hasHeader: Bool = true, hasBytes: Bool = true,
    _ run: @escaping @Sendable (any Communicator) throws -> Void
  ) {
    (self.name, self.hasHeader, self.hasBytes, self.run) = (name, hasHeader, hasBytes, run)
  }

  /// What can be corrupted of it.
  package var kinds: [Corruption.Kind] {
    (hasHeader ? [Corruption.Kind(name, isHeader: true)] : []) + (hasBytes ? [Corruption.Kind(name)] : [])
  }

  /// All kinds of operations; the longest message is sent in several pieces.
  package static let all: [CollectiveOperation] = [
    .init("wait", hasBytes: false) { try $0.barrier("wait") },
    .init("all-gather") { _ = try $0.allGather("all-gather", Array(repeating: 7, count: 100)) },
    .init("sum") { _ = try $0.sum("sum", [1, 2, 3]) },
    .init("share") { _ = try $0.broadcast("share", Array(repeating: 5, count: 1000), from: 0) },
    .init("copy") { communicator in
      try onMemory(70 << 20) { try communicator.broadcast("copy", over: $0, from: 1) }
    },
    .init("collect") { _ = try $0.gather("collect", Array(repeating: 3, count: 500), to: 0) },
    .init("collect much") { communicator in
      let isRoot = communicator.rank == 1
      try onMemory(3000 * communicator.rankCount) { memory in
        let slots = (0..<communicator.rankCount).map {
          UnsafeMutableRawBufferPointer(rebasing: memory[($0 * 3000)..<(($0 + 1) * 3000)])
        }
        _ = try communicator.gather(
          "collect much", UnsafeRawBufferPointer(slots[communicator.rank]), to: 1, into: isRoot ? slots : [])
      }
    },
    .init("move", hasHeader: false) { communicator in
      guard communicator.rank < 2 else { return }
      try onMemory(1 << 20) { try communicator.move("move", $0, from: 0, to: 1) }
    },
    .init("send", hasHeader: false) { communicator in
      try onMemory(24 * communicator.rankCount) { memory in
        let slots = (0..<communicator.rankCount).map {
          UnsafeMutableRawBufferPointer(rebasing: memory[($0 * 24)..<(($0 + 1) * 24)])
        }
        _ = try communicator.exchange(
          .control("send"), outgoing: slots.map { _ in UnsafeRawBufferPointer(slots[communicator.rank]) },
          incoming: slots, limits: nil)
      }
    },
  ]
}

/// Runs `body` with zeroed memory.
private func onMemory(_ byteCount: Int, _ body: (UnsafeMutableRawBufferPointer) throws -> Void) rethrows {
  let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: byteCount, alignment: 64)
  defer { memory.deallocate() }
  memory.initializeMemory(as: UInt8.self, repeating: 0)
  try body(memory)
}
