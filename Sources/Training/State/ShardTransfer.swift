import Communication
import Foundation
import Layers
import Synchronization
import Tensors

/// Brings what each rank alone has of a run to rank 0, on a thread of its own, while training goes on.
///
/// Every rank has one where the words are dealt out. A rank copies its share, which takes as long as memory takes, and sends
/// that copy over a communicator that carries nothing else. Steps are full of messages that ranks wait for, so the copy takes a
/// share of the link alone, until somebody waits for it.
///
/// `@unchecked Sendable`: whoever fills `copies` has waited until the transfer before was done.
final class ShardTransfer: @unchecked Sendable {
  /// By rank.
  private let shards: [ParameterShard]
  private let communicator: any Communicator
  private let copies: [Matrix]
  /// How many times as long as a piece took the link is left to training.
  private static let pausesPerPiece = 3.0
  private let isUrgent = Atomic(false)
  private let thread = BackgroundThread(name: "snapshots", givesWay: false)
  private let failure = Mutex<(any Error)?>(nil)
  private let arena = Arena()

  /// The transfer of a replica of so many flat buffers; nil where every rank has all.
  init?(_ replica: Replica) {
    guard replica.configuration.exchange.vocabulary == .sharded else { return nil }
    let ranks = replica.ranks
    shards = replica.shardsOfRanks
    communicator = ranks.snapshots
    let count = ranks.isCoordinator ? 0 : replica.shard.ownedCount
    copies = replica.buffers.map { [arena] _ in
      arena.matrix(rowCount: 1, columnCount: count)
    }
  }

  /// Copies what this rank alone has, and begins to send it; on rank 0 begins to take what the others send into
  /// `snapshot`, which is not whole until then.
  func begin(_ replica: Replica, into snapshot: Snapshot?) throws {
    try finish()
    isUrgent.store(false, ordering: .relaxed)
    let rank = communicator.rank
    if let snapshot {
      snapshot.beginArrival()
      perform { [self] in
        let result = Result {
          for buffer in snapshot.buffers { try buffer.takeOwned(shards, over: communicator) }
        }
        snapshot.endArrival(result)
        try result.get()
      }
    } else {
      for (copy, buffer) in zip(copies, replica.buffers) { buffer.copyOwned(shards[rank], to: copy.data) }
      perform { [self] in
        for copy in copies { try copy.sendOwned(over: communicator, between: pause) }
      }
    }
  }

  /// Ends the pauses: somebody, here or on rank 0, waits for the transfer.
  func setUrgent() { isUrgent.store(true, ordering: .relaxed) }

  private func pause(after seconds: Double) {
    let end = ContinuousClock.now + .seconds(Self.pausesPerPiece * seconds)
    while !isUrgent.load(ordering: .relaxed), ContinuousClock.now < end { usleep(1000) }
  }

  /// Waits until what was begun is done; throws what has ended it.
  func finish() throws {
    setUrgent()
    thread.waitUntilIdle()
    if let failure = failure.withLock({ $0 }) { throw failure }
  }

  private func perform(_ job: @escaping @Sendable () throws -> Void) {
    thread.perform { [self] in
      do { try job() } catch { failure.withLock { $0 = error } }
    }
  }
}

extension Replica {
  /// All flat buffers that make up a run, the parameters first.
  var buffers: [ParameterBuffer] { [parameters] + optimizer.moments.map(\.buffer) }

  /// What each rank keeps up to date.
  var shardsOfRanks: [ParameterShard] {
    (0..<ranks.rankCount).map { model.shard(of: $0, configuration.exchange.vocabulary, share) }
  }

  /// Makes rank 0's parameters whole, between steps; all ranks call it.
  func gatherParameters() throws {
    guard configuration.exchange.vocabulary == .sharded else { return }
    guard !ranks.isCoordinator else { return try parameters.takeOwned(shardsOfRanks, over: ranks.control) }
    let arena = Arena()
    defer { withExtendedLifetime(arena) {} }
    let copy = arena.matrix(rowCount: 1, columnCount: shard.ownedCount)
    parameters.copyOwned(shard, to: copy.data)
    try copy.sendOwned(over: ranks.control)
  }

  /// Gives every rank what it keeps up to date of rank 0's buffers; all ranks call it.
  func spreadBuffers() throws {
    let shards = shardsOfRanks
    for buffer in buffers {
      let common = buffer.flat.columns(shard.common)
      try ranks.control.broadcast("tensors", over: common.bytes, from: Ranks.coordinator)
      try buffer.spreadOwned(shards, over: ranks.control)
    }
  }
}

extension ParameterBuffer {
  /// Takes in what the other ranks alone have, rank after rank; each of them calls `sendOwned`.
  fileprivate func takeOwned(_ shards: [ParameterShard], over communicator: any Communicator) throws {
    let arena = Arena()
    defer { withExtendedLifetime(arena) {} }
    let room = arena.matrix(rowCount: 1, columnCount: shards.reduce(0) { max($0, $1.ownedCount) })
    for (rank, shard) in shards.enumerated() where rank != communicator.rank && shard.ownedCount > 0 {
      let part = room.columns(0..<shard.ownedCount)
      try part.move(from: rank, to: communicator.rank, over: communicator)
      takeOwned(shard, from: part.data)
    }
  }

  /// Gives each rank what it alone keeps up to date from rank 0's buffer; all ranks call it.
  fileprivate func spreadOwned(_ shards: [ParameterShard], over communicator: any Communicator) throws {
    let arena = Arena()
    defer { withExtendedLifetime(arena) {} }
    let isRoot = communicator.rank == Ranks.coordinator
    let mostCount =
      isRoot ? shards.reduce(0) { max($0, $1.ownedCount) } : shards[communicator.rank].ownedCount
    let room = arena.matrix(rowCount: 1, columnCount: mostCount)
    for (rank, shard) in shards.enumerated() where rank != Ranks.coordinator && shard.ownedCount > 0 {
      guard isRoot || rank == communicator.rank else { continue }
      let part = room.columns(0..<shard.ownedCount)
      if isRoot { copyOwned(shard, to: part.data) }
      try part.move(from: Ranks.coordinator, to: rank, over: communicator)
      if !isRoot { takeOwned(shard, from: part.data) }
    }
  }
}

extension Matrix {
  /// Sends what this rank alone has to rank 0; nothing where that is nothing.
  fileprivate func sendOwned(
    over communicator: any Communicator, between: (_ seconds: Double) -> Void = { _ in }
  ) throws {
    guard count > 0 else { return }
    try move(from: communicator.rank, to: Ranks.coordinator, over: communicator, between: between)
  }

  /// Copies the elements of one rank over those of another; these two call it.
  fileprivate func move(
    from sender: Int, to receiver: Int, over communicator: any Communicator,
    between: (_ seconds: Double) -> Void = { _ in }
  ) throws {
    try communicator.move(
      "shard of rank \(max(sender, receiver))", bytes, from: sender, to: receiver, between: between)
  }
}
