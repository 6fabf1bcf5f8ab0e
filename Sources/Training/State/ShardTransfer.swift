import Communication
import Foundation
import Layers
import Platform
import Synchronization
import Tensors

/// Sends the shards of all ranks to rank 0's snapshot, on a thread of its own, while training continues.
///
/// Every rank has one where the vocabulary is sharded. A rank copies its shard, at the speed of memory, and sends the copy
/// over a communicator that carries nothing else. Ranks wait for the messages of steps, so the sender pauses after each message,
/// until it is urgent.
///
/// `@unchecked Sendable`: `copies` are filled only once the previous transfer is done.
final class ShardTransfer: @unchecked Sendable {
  /// The pause after a message, as a multiple of the time that the message took.
  private static let pausePerSecond = 3.0

  /// By rank.
  private let shards: [ParameterShard]
  private let communicator: any Communicator
  private let copies: [Matrix]
  private let isUrgent = Atomic(false)
  private let thread: JobThread
  private let failure = Mutex<(any Error)?>(nil)
  private let arena: Arena

  /// The transfer of a state; nil where every rank has all of it.
  init?(_ state: TrainingState, in arena: Arena = Arena()) throws {
    guard state.layout.isSharded else { return nil }
    self.arena = arena
    thread = try JobThread(name: "snapshots")
    shards = state.contributedShards
    communicator = state.ranks.snapshots
    let count = state.ranks.isCoordinator ? 0 : shards[state.ranks.rank].ownedCount
    copies = state.buffers.map { _ in arena.matrix(rowCount: 1, columnCount: count) }
  }

  /// Copies this rank's shard and starts sending it; on rank 0 starts receiving those of the others into `snapshot`.
  func begin(_ state: TrainingState, into snapshot: Snapshot?) throws {
    try finish()
    isUrgent.store(false, ordering: .relaxed)
    if let snapshot {
      snapshot.beginArrival()
      submit { [self] in
        let result = Result {
          for buffer in snapshot.buffers { try buffer.receiveShards(shards, over: communicator) }
        }
        snapshot.endArrival(result)
        try result.get()
      }
    } else {
      let shard = shards[communicator.rank]
      for (copy, buffer) in zip(copies, state.buffers) { buffer.packShard(shard, to: copy.data) }
      submit { [self] in
        for copy in copies { try copy.sendShard(over: communicator, between: pause) }
      }
    }
  }

  /// Ends the pauses: a rank, here or rank 0, waits for the transfer.
  func setUrgent() { isUrgent.store(true, ordering: .relaxed) }

  /// Waits until the transfer is done; throws what has ended it.
  func finish() throws {
    setUrgent()
    thread.waitUntilIdle()
    if let failure = failure.withLock({ $0 }) { throw failure }
  }

  private func pause(after seconds: Double) {
    let end = ContinuousClock.now + .seconds(Self.pausePerSecond * seconds)
    while !isUrgent.load(ordering: .relaxed), ContinuousClock.now < end { usleep(1000) }
  }

  private func submit(_ job: @escaping @Sendable () throws -> Void) {
    thread.submit { [self] in
      do { try job() } catch { failure.withLock { $0 = error } }
    }
  }
}

extension TrainingState {
  /// The parameter shard of each rank, by rank.
  fileprivate var shardsOfRanks: [ParameterShard] {
    (0..<ranks.rankCount).map { layout.parameterShard(of: $0, model) }
  }

  /// Messages to rank 0 from each rank: the shards of the first group, which all other groups have too.
  fileprivate var contributedShards: [ParameterShard] {
    (0..<ranks.rankCount).map { layout.contributedShard(of: $0, model) }
  }

  /// Completes rank 0's parameters, between steps; all ranks call it.
  func gatherParameters() throws {
    guard layout.isSharded else { return }
    guard !ranks.isCoordinator else {
      return try parameters.receiveShards(contributedShards, over: ranks.control)
    }
    let arena = Arena()
    defer { withExtendedLifetime(arena) {} }
    let shard = contributedShards[ranks.rank]
    let copy = arena.matrix(rowCount: 1, columnCount: shard.ownedCount)
    parameters.packShard(shard, to: copy.data)
    try copy.sendShard(over: ranks.control)
  }

  /// Gives every rank its part of rank 0's buffers; all ranks call it.
  func distributeBuffers() throws {
    for buffer in buffers {
      let common = buffer.flat.columns(shard.common)
      try ranks.control.broadcast("tensors", over: common.bytes, from: Ranks.coordinator)
      try buffer.distributeShards(shardsOfRanks, over: ranks.control)
    }
  }
}

extension ParameterBuffer {
  /// Receives the shards of all other ranks, one after the other; each of them calls `sendShard`.
  fileprivate func receiveShards(_ shards: [ParameterShard], over communicator: any Communicator) throws {
    let arena = Arena()
    defer { withExtendedLifetime(arena) {} }
    let room = arena.matrix(rowCount: 1, columnCount: shards.reduce(0) { max($0, $1.ownedCount) })
    for (rank, shard) in shards.enumerated() where rank != communicator.rank && shard.ownedCount > 0 {
      let part = room.columns(0..<shard.ownedCount)
      try part.move(from: rank, to: communicator.rank, over: communicator)
      unpackShard(shard, from: part.data)
    }
  }

  /// Sends each rank its shard of rank 0's buffer; all ranks call it.
  fileprivate func distributeShards(_ shards: [ParameterShard], over communicator: any Communicator) throws {
    let arena = Arena()
    defer { withExtendedLifetime(arena) {} }
    let isRoot = communicator.rank == Ranks.coordinator
    let count = isRoot ? shards.reduce(0) { max($0, $1.ownedCount) } : shards[communicator.rank].ownedCount
    let room = arena.matrix(rowCount: 1, columnCount: count)
    for (rank, shard) in shards.enumerated() where rank != Ranks.coordinator && shard.ownedCount > 0 {
      guard isRoot || rank == communicator.rank else { continue }
      let part = room.columns(0..<shard.ownedCount)
      if isRoot { packShard(shard, to: part.data) }
      try part.move(from: Ranks.coordinator, to: rank, over: communicator)
      if !isRoot { unpackShard(shard, from: part.data) }
    }
  }
}

extension Matrix {
  /// Sends a packed shard to rank 0, unless it is empty.
  fileprivate func sendShard(
    over communicator: any Communicator, between: (_ seconds: Double) -> Void = { _ in }
  ) throws {
    guard count > 0 else { return }
    try move(from: communicator.rank, to: Ranks.coordinator, over: communicator, between: between)
  }

  /// Copies a packed shard from one rank to another; these two call it.
  fileprivate func move(
    from sender: Int, to receiver: Int, over communicator: any Communicator,
    between: (_ seconds: Double) -> Void = { _ in }
  ) throws {
    try communicator.move(
      "shard of rank \(max(sender, receiver))", bytes, from: sender, to: receiver, between: between)
  }
}
