import Foundation
import Platform
import Synchronization

/// One of several ranks in one process, each on a thread of its own.
package final class LocalCommunicator: Communicator {
  package let rank: Int
  /// The host each rank would run on, as in "local-1".
  package let hostNames: [String]
  /// The number each rank has among those of `world`, by rank.
  package let jobRanks: [Int]
  /// Which ranks act as if they were on one node.
  package let layout: NodeLayout
  private let mailbox: Mailbox
  private let fault: ReceptionFault?
  /// Distinguishes this communicator's messages from those of others over the same mailbox.
  private let context: Int
  private let collectiveCount = Atomic(0)

  package var rankCount: Int { hostNames.count }
  /// Ranks of one process need no heartbeat.
  package var liveness: (any Liveness)? { nil }

  private init(
    rank: Int, hostNames: [String], jobRanks: [Int], layout: NodeLayout, mailbox: Mailbox, context: Int,
    fault: ReceptionFault?
  ) {
    self.rank = rank
    self.hostNames = hostNames
    self.jobRanks = jobRanks
    self.layout = layout
    self.mailbox = mailbox
    self.context = context
    self.fault = fault
  }

  /// All ranks of a new job, for one thread each; `ranksPerNode` consecutive ones share memory.
  package static func world(
    rankCount: Int, ranksPerNode: Int = 1, fault: ReceptionFault? = nil
  ) -> [LocalCommunicator] {
    let mailbox = Mailbox()
    let layout = NodeLayout(nodeOfRank: (0..<rankCount).map { $0 / ranksPerNode })
    return (0..<rankCount).map {
      LocalCommunicator(
        rank: $0, hostNames: (0..<rankCount).map { "local-\($0)" }, jobRanks: Array(0..<rankCount),
        layout: layout, mailbox: mailbox, context: 0, fault: fault)
    }
  }

  package func split(color: Int) throws -> any Communicator {
    let ranks = try ranks(ofColor: color)
    guard let subsetRank = ranks.firstIndex(of: rank) else {
      preconditionFailure("rank \(rank) is not in \(ranks)")
    }
    return LocalCommunicator(
      rank: subsetRank, hostNames: ranks.map { hostNames[$0] }, jobRanks: ranks.map { jobRanks[$0] },
      layout: layout.subset(ranks), mailbox: mailbox, context: mailbox.context(of: nextCall(ranks)),
      fault: fault)
  }

  package func exchange(
    _ operation: MessageTag, with peers: [Int], outgoing: [UnsafeRawBufferPointer],
    incoming: [UnsafeMutableRawBufferPointer], limits: StallLimits?
  ) throws -> [Int] {
    precondition(outgoing.count == peers.count && incoming.count == peers.count, "one buffer per peer")
    var checksum = MessageChecksum()
    for (index, peer) in peers.enumerated() where peer != rank {
      let sum = operation.checksItsBytes ? 0 : checksum.value(of: outgoing[index])
      mailbox.send(.init(bytes: Array(outgoing[index]), checksum: sum), by: route(from: rank, to: peer))
    }
    var watch = watch(operation, limits)
    return try peers.enumerated().map { index, peer in
      guard peer != rank else { return 0 }
      let blob = try receive(from: peer, &watch)
      guard blob.bytes.count <= incoming[index].count else {
        throw MilmError(
          "\(label(of: peer)) sent more than the \(incoming[index].count) bytes expected at \(operation)")
      }
      incoming[index].copyBytes(from: blob.bytes)
      let received = UnsafeMutableRawBufferPointer(rebasing: incoming[index][..<blob.bytes.count])
      fault?(operation, peer, rank, received)
      if !operation.checksItsBytes {
        try check(UnsafeRawBufferPointer(received), against: blob.checksum, from: peer, operation)
      }
      return blob.bytes.count
    }
  }

  package func shareMemory(among ranks: [Int], byteCount: Int) throws -> SharedMemory {
    let buffers = mailbox.sharedBuffers(
      nextCall(ranks), count: ranks.count, byteCount: SharedMemory.headerByteCount + byteCount)
    return SharedMemory(ranks: ranks, rank: rank, pieces: buffers.map(\.bytes)) { [mailbox] in
      try withExtendedLifetime(buffers) { try mailbox.throwIfClosed() }
    }
  }

  package func broadcast(
    _ operation: MessageTag, _ bytes: UnsafeMutableRawBufferPointer, from root: Int
  ) throws {
    guard rank != root else {
      let message = Mailbox.Message(
        bytes: Array(bytes), checksum: XXH64.hash(UnsafeRawBufferPointer(bytes)))
      for peer in 0..<rankCount where peer != root { mailbox.send(message, by: route(from: root, to: peer)) }
      return
    }
    var watch = watch(operation, nil)
    let message = try receive(from: root, &watch)
    bytes.copyBytes(from: message.bytes)
    fault?(operation, root, rank, bytes)
    try check(UnsafeRawBufferPointer(bytes), against: message.checksum, from: root, operation)
  }

  package func transportSum(_ values: UnsafeMutableBufferPointer<Float>) throws {
    let all = try allGather("sum", Array(UnsafeRawBufferPointer(values)))
    for (sender, bytes) in all.enumerated() {
      bytes.withUnsafeBytes { bytes in
        for index in values.indices {
          let term = bytes.loadUnaligned(fromByteOffset: 4 * index, as: Float.self)
          values[index] = sender == 0 ? term : values[index] + term
        }
      }
    }
  }

  /// Makes every rank that waits, or will wait, throw `message`.
  package func abort(_ message: String) {
    mailbox.close("\(label(of: rank)) ended the job: \(message)")
  }

  private func route(from sender: Int, to receiver: Int) -> Mailbox.Route {
    Mailbox.Route(context: context, sender: sender, receiver: receiver)
  }

  private func receive(from sender: Int, _ watch: inout StallWatch) throws -> Mailbox.Message {
    try mailbox.receive(by: route(from: sender, to: rank), watch: &watch) { isEmpty in
      (0..<rankCount).filter { $0 != rank && isEmpty(route(from: $0, to: rank)) }
    }
  }

  /// Names the next call that `ranks` make together, by the same value on all of them.
  private func nextCall(_ ranks: [Int]) -> Mailbox.Call {
    let number = collectiveCount.add(1, ordering: .relaxed).newValue
    return Mailbox.Call(context: context, firstRank: ranks[0], number: number)
  }
}

/// Messages between all ranks of a process, of all communicators over them, and what else they share.
///
/// `@unchecked Sendable`: the condition's lock is held around every use of the fields.
private final class Mailbox: @unchecked Sendable {
  /// Bytes, and their checksum where one follows them.
  struct Message {
    let bytes: [UInt8]
    let checksum: UInt64
  }

  /// The communicator, sender and receiver of a message.
  struct Route: Hashable {
    let context: Int
    let sender: Int
    let receiver: Int
  }

  /// A call that several ranks of a communicator make together.
  struct Call: Hashable {
    let context: Int
    let firstRank: Int
    let number: Int
  }

  private let condition = NSCondition()
  private var messages: [Route: [Message]] = [:]  // oldest first
  private var closingReason: String?
  private var sharedBuffers: [Call: [AlignedBuffer]] = [:]
  private var contexts: [Call: Int] = [:]

  func send(_ message: Message, by route: Route) {
    condition.withLock {
      messages[route, default: []].append(message)
      condition.broadcast()
    }
  }

  /// The oldest message of a route, waited for; `stragglers` gets a function that tells whether a route has none.
  func receive(
    by route: Route, watch: inout StallWatch, stragglers: ((Route) -> Bool) -> [Int]
  ) throws -> Message {
    condition.lock()
    defer { condition.unlock() }
    while true {
      if let message = messages[route]?.first {
        messages[route]?.removeFirst()
        watch.noteProgress()
        return message
      }
      if let closingReason { throw MilmError(closingReason) }
      _ = condition.wait(until: Date(timeIntervalSinceNow: 0.02))
      try watch.check { stragglers { messages[$0]?.isEmpty ?? true } }
    }
  }

  /// The context of the communicator that a call makes.
  func context(of call: Call) -> Int {
    condition.withLock {
      let context = contexts[call] ?? contexts.count + 1
      contexts[call] = context
      return context
    }
  }

  func sharedBuffers(_ call: Call, count: Int, byteCount: Int) -> [AlignedBuffer] {
    condition.withLock {
      let buffers = sharedBuffers[call] ?? (0..<count).map { _ in AlignedBuffer(byteCount: byteCount) }
      sharedBuffers[call] = buffers
      return buffers
    }
  }

  func throwIfClosed() throws {
    if let reason = condition.withLock({ closingReason }) { throw MilmError(reason) }
  }

  func close(_ reason: String) {
    condition.withLock {
      closingReason = closingReason ?? reason
      condition.broadcast()
    }
  }
}
