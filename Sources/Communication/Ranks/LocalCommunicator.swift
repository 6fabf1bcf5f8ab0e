import Foundation
import Platform
import Synchronization

/// One of several ranks in one process, each on a thread of its own.
public final class LocalCommunicator: Communicator {
  /// The number of this rank, from 0.
  public let rank: Int
  /// The host each rank would run on, as in "local-1".
  public let hostNames: [String]
  /// Which ranks act as if they were on one node.
  public let layout: NodeLayout
  private let postOffice: PostOffice
  private let sharedMemoryCount = Atomic(0)

  /// The number of ranks.
  public var rankCount: Int { hostNames.count }
  /// Ranks of one process live and die together.
  public var liveness: (any Liveness)? { nil }

  private init(rank: Int, hostNames: [String], layout: NodeLayout, postOffice: PostOffice) {
    self.layout = layout
    self.rank = rank
    self.hostNames = hostNames
    self.postOffice = postOffice
  }

  /// The ranks of a new group, to be given to one thread each;
  /// so many that follow each other share memory.
  public static func world(rankCount: Int, ranksPerNode: Int = 1) -> [LocalCommunicator] {
    let hostNames = (0..<rankCount).map { "local-\($0)" }
    let postOffice = PostOffice(rankCount: rankCount)
    let layout = NodeLayout(nodeOfRank: (0..<rankCount).map { $0 / ranksPerNode })
    return (0..<rankCount).map {
      LocalCommunicator(rank: $0, hostNames: hostNames, layout: layout, postOffice: postOffice)
    }
  }

  /// Sends one blob to each other of `peers` and receives one from each; gives the byte counts received.
  public func exchange(
    _ operation: CollectiveOperation, with peers: [Int], outgoing: [UnsafeRawBufferPointer],
    incoming: [UnsafeMutableRawBufferPointer], limits: StallLimits?
  ) throws -> [Int] {
    precondition(outgoing.count == peers.count && incoming.count == peers.count, "one buffer a peer")
    for (index, peer) in peers.enumerated() where peer != rank {
      postOffice.send(Array(outgoing[index]), from: rank, to: peer)
    }
    var watch = watch(operation, limits)
    return try peers.enumerated().map { index, peer in
      guard peer != rank else { return 0 }
      let blob = try postOffice.receive(from: peer, to: rank, watch: &watch)
      guard blob.count <= incoming[index].count else {
        throw MilmError(
          "\(label(of: peer)) sent more than the \(incoming[index].count) bytes expected at \(operation)")
      }
      incoming[index].copyBytes(from: blob)
      return blob.count
    }
  }

  /// Memory that `ranks` see together, `byteCount` for each.
  public func shareMemory(among ranks: [Int], byteCount: Int) throws -> SharedMemory {
    let number = sharedMemoryCount.add(1, ordering: .relaxed).newValue
    let buffers = postOffice.sharedBuffers(
      .init(firstRank: ranks[0], number: number), count: ranks.count,
      byteCount: SharedMemory.headerByteCount + byteCount)
    return SharedMemory(ranks: ranks, rank: rank, pieces: buffers.map(\.bytes)) { [postOffice] in
      try withExtendedLifetime(buffers) { try postOffice.throwIfClosed() }
    }
  }

  /// Copies `bytes` of rank `root` over those of all others; their count must be the same everywhere.
  public func broadcast(
    _ operation: CollectiveOperation, _ bytes: UnsafeMutableRawBufferPointer, from root: Int
  ) throws {
    guard rank != root else {
      for peer in 0..<rankCount where peer != root { postOffice.send(Array(bytes), from: root, to: peer) }
      return
    }
    var watch = watch(operation, nil)
    bytes.copyBytes(from: try postOffice.receive(from: root, to: rank, watch: &watch))
  }

  /// Makes every rank that waits, or will wait, throw `message`.
  public func abort(_ message: String) {
    postOffice.close("\(label(of: rank)) ended the job: \(message)")
  }
}

/// The letters between all pairs of ranks.
///
/// `@unchecked Sendable`: the condition's lock is held around every use of the fields.
private final class PostOffice: @unchecked Sendable {
  private let condition = NSCondition()
  private var boxes: [[[[UInt8]]]]  // [to][from], oldest letter first
  private var closingReason: String?
  private var sharedBuffers: [SharedName: [AlignedBuffer]] = [:]

  /// Which call of a node's ranks a shared memory comes from.
  struct SharedName: Hashable {
    let firstRank: Int
    let number: Int
  }

  init(rankCount: Int) {
    boxes = Array(repeating: Array(repeating: [], count: rankCount), count: rankCount)
  }

  func send(_ letter: [UInt8], from sender: Int, to receiver: Int) {
    condition.withLock {
      boxes[receiver][sender].append(letter)
      condition.broadcast()
    }
  }

  func receive(from sender: Int, to receiver: Int, watch: inout StallWatch) throws -> [UInt8] {
    condition.lock()
    defer { condition.unlock() }
    while boxes[receiver][sender].isEmpty {
      if let closingReason { throw MilmError(closingReason) }
      _ = condition.wait(until: Date(timeIntervalSinceNow: 0.02))
      try watch.check { boxes[receiver].indices.filter { $0 != receiver && boxes[receiver][$0].isEmpty } }
    }
    watch.noteProgress()
    return boxes[receiver][sender].removeFirst()
  }

  func sharedBuffers(_ name: SharedName, count: Int, byteCount: Int) -> [AlignedBuffer] {
    condition.withLock {
      let buffers = sharedBuffers[name] ?? (0..<count).map { _ in AlignedBuffer(byteCount: byteCount) }
      sharedBuffers[name] = buffers
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
