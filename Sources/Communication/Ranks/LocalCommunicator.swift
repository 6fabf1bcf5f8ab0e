import Foundation

/// One of several ranks in one process, each on a thread of its own.
public final class LocalCommunicator: Communicator {
  /// The number of this rank, from 0.
  public let rank: Int
  /// The host each rank would run on, as in "local-1".
  public let hostNames: [String]
  private let postOffice: PostOffice

  /// The number of ranks.
  public var rankCount: Int { hostNames.count }

  private init(rank: Int, hostNames: [String], postOffice: PostOffice) {
    self.rank = rank
    self.hostNames = hostNames
    self.postOffice = postOffice
  }

  /// The ranks of a new group, to be given to one thread each.
  public static func world(rankCount: Int) -> [LocalCommunicator] {
    let hostNames = (0..<rankCount).map { "local-\($0)" }
    let postOffice = PostOffice(rankCount: rankCount)
    return (0..<rankCount).map { LocalCommunicator(rank: $0, hostNames: hostNames, postOffice: postOffice) }
  }

  /// Sends one blob to each other rank and receives one from each; gives the byte counts received, by rank.
  public func exchange(
    _ operation: CollectiveOperation, outgoing: [UnsafeRawBufferPointer],
    incoming: [UnsafeMutableRawBufferPointer], limits: StallLimits?
  ) throws -> [Int] {
    precondition(outgoing.count == rankCount && incoming.count == rankCount, "one buffer a rank")
    for peer in 0..<rankCount where peer != rank {
      postOffice.send(Array(outgoing[peer]), from: rank, to: peer)
    }
    var watch = StallWatch(limits, operation: operation, rank: rank, hostNames: hostNames)
    return try (0..<rankCount).map { peer in
      guard peer != rank else { return 0 }
      let blob = try postOffice.receive(from: peer, to: rank, watch: &watch)
      guard blob.count <= incoming[peer].count else {
        throw CommunicationError(
          "\(label(of: peer)) sent more than the \(incoming[peer].count) bytes expected at \(operation)")
      }
      incoming[peer].copyBytes(from: blob)
      return blob.count
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
    var watch = StallWatch(nil, operation: operation, rank: rank, hostNames: hostNames)
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
      if let closingReason { throw CommunicationError(closingReason) }
      _ = condition.wait(until: Date(timeIntervalSinceNow: 0.02))
      try watch.check { boxes[receiver].indices.filter { $0 != receiver && boxes[receiver][$0].isEmpty } }
    }
    watch.noteProgress()
    return boxes[receiver][sender].removeFirst()
  }

  func close(_ reason: String) {
    condition.withLock {
      closingReason = closingReason ?? reason
      condition.broadcast()
    }
  }
}
